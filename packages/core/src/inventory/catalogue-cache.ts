/**
 * A copy of the catalogue in Redis, between the memory of each process and PostgreSQL. Has no stock
 * numbers. Fresh for CATALOGUE_TTL_S; kept for CATALOGUE_KEPT_S, to be served while PostgreSQL is
 * unavailable.
 */

import type { Sale } from '../domain/sale.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

/**
 * Seconds that the catalogue in Redis is fresh. A read that started before a change may write the
 * old catalogue back, which is then shown for this long.
 */
const CATALOGUE_TTL_S = 5;

/** Seconds that a stale catalogue is kept for reads while PostgreSQL is unavailable. */
const CATALOGUE_KEPT_S = 3_600;

export type CatalogueCache = ReturnType<typeof createCatalogueCache>;

export function createCatalogueCache({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** @returns null if there is no copy */
    async read(): Promise<{ sales: readonly Sale[]; fresh: boolean } | null> {
      const [text, ttl] = await Promise.all([redis.get(keys.catalogue), redis.ttl(keys.catalogue)]);
      if (text === null) return null;
      return { sales: JSON.parse(text) as Sale[], fresh: CATALOGUE_KEPT_S - ttl < CATALOGUE_TTL_S };
    },
    async write(sales: readonly Sale[]): Promise<void> {
      await redis.set(keys.catalogue, JSON.stringify(sales), 'EX', CATALOGUE_KEPT_S);
    },
    /** After an operator's change: the next read goes to PostgreSQL. */
    async clear(): Promise<void> {
      await redis.del(keys.catalogue);
    },
  };
}
