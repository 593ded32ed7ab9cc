/**
 * Finds orders that were accepted and are in neither place: not in the ledger, and not among the inventory's reservations. Possible only where
 * Redis itself lost its disk, or one of the two was restored from an older one.
 */

import type { AcceptedOrder, OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';

/**
 * Of an epoch before all others, so that the inventory must readmit them: only the worker that holds the sale's row can say whether there is room.
 */
const FOUND_AGAIN = 0;

/**
 * @param orders of one sale, of the accepted-order log: a chunk of LOST_LOOK_CHUNK at the most
 * @returns those that are lost, ready for the queue
 */
export async function findLostOrders(
  parts: { inventory: Pick<Inventory, 'reservedAmong'>; orders: Pick<OrderStore, 'outcomesOf'> },
  saleId: string,
  orders: readonly AcceptedOrder[],
): Promise<OrderBatch> {
  const ids = orders.map((order) => order.id);
  // The inventory first: a reservation ends only after the ledger has the order, so that none can slip through between.
  const reserved = await parts.inventory.reservedAmong(saleId, ids);
  const ended = new Set((await parts.orders.outcomesOf(ids)).map((outcome) => outcome.id));
  const missing = orders.filter((order) => !reserved.has(order.id) && !ended.has(order.id));
  return { saleId, epoch: FOUND_AGAIN, orders: missing };
}
