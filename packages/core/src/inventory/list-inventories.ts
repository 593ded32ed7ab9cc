/** Which sales Redis has: the one place that scans the key space, page by page. */
import { type AnyRedis, mastersOf } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

/** Keys that Redis looks at in one call: 0.3 ms. */
const SCAN_COUNT = 1_000;

/** @returns ids of the sales that have an inventory, open or closed */
export async function listInventories(redis: AnyRedis, keys: Keys): Promise<Set<string>> {
  const saleIds = new Set<string>();
  for (const node of mastersOf(redis)) {
    let cursor = '0';
    do {
      const [next, found] = await node.scan(cursor, 'MATCH', keys.inventoryPattern, 'COUNT', SCAN_COUNT);
      for (const key of found) saleIds.add(keys.saleOfInventory(key));
      cursor = next;
    } while (cursor !== '0');
  }
  return saleIds;
}
