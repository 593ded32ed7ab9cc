/**
 * Finds the buyers whose units must be compared. Their hash may be as large as the sale, so it is
 * scanned. A scan is not of one instant: a difference is a candidate that the snapshot reads again.
 */
import { decodeReservation } from '@flash-sale/core/inventory/reservation.ts';
import { pagesIfHash, readNumbers } from './read-inventory.ts';
import { eachBuyer } from './read-ledger.ts';
import type { SaleStores } from './read-snapshot.ts';

/** More than order during a scan; if more differ, the first ones already show the fault. */
const BUYERS_MAX = 50_000;

/**
 * @returns buyers whose count differs from their orders, and those who are ordering, where an order
 * may hide a difference
 */
export async function findBuyers({ redis, pool, saleKeys, saleId }: SaleStores): Promise<string[]> {
  // Without a cap nobody's units are counted.
  if (Number(await redis.hget(saleKeys.inventory, 'per_buyer_limit').catch(() => 0)) === 0) return [];
  const { at } = await readNumbers(redis, saleKeys);
  const differences = new Map<string, number>();
  const ordering = new Set<string>();
  for await (const fields of pagesIfHash(redis, saleKeys.buyers)) {
    for (const [buyerId, units] of fields) differences.set(buyerId, Number(units));
  }
  for await (const fields of pagesIfHash(redis, saleKeys.reservations)) {
    for (const [id, record] of fields) {
      const reservation = decodeReservation(id, record);
      if (reservation) ordering.add(reservation.buyerId);
    }
  }
  await eachBuyer(pool, { saleId, at }, (chunk) => {
    for (const { buyerId, units, hasNewer } of chunk) {
      const difference = (differences.get(buyerId) ?? 0) - units;
      if (difference === 0) differences.delete(buyerId);
      else differences.set(buyerId, difference);
      if (hasNewer) ordering.add(buyerId);
    }
  });
  return [...new Set([...differences.keys(), ...ordering])].slice(0, BUYERS_MAX);
}
