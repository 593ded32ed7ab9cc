/** Which keys of Redis are documented (docs/reference.md). What buyers send must never make another one. */
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { Redis } from 'ioredis';

const sale = SALE_ID_PATTERN.replace(/^\^|\$$/g, '');

function patternOf(prefix: string): RegExp {
  const ofSale =
    'inventory|reservations|claims|redeliveries|buyers|order-keys|stock-changes|earlier-orders|rebuilder|buckets:[01]';
  const ofSystem = 'window|catalogue|worker-alive';
  // BullMQ's names for the queue, its lists and its jobs.
  const ofQueue = '[a-z-]+(:[a-zA-Z0-9_.-]+){1,2}';
  return new RegExp(`^(${prefix}:(\\{${sale}\\}:(${ofSale})|\\{system\\}:(${ofSystem}))|\\{${prefix}\\}:${ofQueue})$`);
}

/**
 * @param prefix KEY_PREFIX; keys of others are not looked at where `ownOnly`
 * @returns names of keys that nobody documents
 */
export async function strangeKeys(
  redis: Redis,
  { prefix = 'flash-sale', ownOnly = false }: { prefix?: string; ownOnly?: boolean } = {},
): Promise<string[]> {
  const documented = patternOf(prefix);
  const strange: string[] = [];
  for await (const names of redis.scanStream({ count: 1_000 })) {
    for (const name of names as string[]) {
      if (ownOnly && !name.includes(prefix)) continue;
      if (!documented.test(name)) strange.push(name);
    }
  }
  return strange;
}
