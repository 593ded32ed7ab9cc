/** The catalogue's copy in Redis: between the memory of each process and PostgreSQL. Holds no numbers of stock. */
import type { Redis } from 'ioredis';
import { CATALOGUE_TTL_S } from '../limits.ts';
import type { Sale } from '../sales/sale.ts';
import type { Keys } from './keys.ts';

export type CatalogueCache = ReturnType<typeof createCatalogueCache>;

export function createCatalogueCache({ redis, keys }: { redis: Redis; keys: Keys }) {
  return {
    async read(): Promise<Sale[] | null> {
      const text = await redis.get(keys.catalogue);
      return text === null ? null : (JSON.parse(text) as Sale[]);
    },
    async write(sales: readonly Sale[]): Promise<void> {
      await redis.set(keys.catalogue, JSON.stringify(sales), 'EX', CATALOGUE_TTL_S);
    },
    /** An operator changed something: the next read goes to PostgreSQL. */
    async clear(): Promise<void> {
      await redis.del(keys.catalogue);
    },
  };
}
