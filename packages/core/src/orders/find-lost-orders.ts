/**
 * Finds orders that were accepted and are in neither place: not in the ledger, and not among the gate's reservations. Possible only where
 * Redis itself lost its disk, or one of the two was restored from an older one.
 */
import type { StockGate } from '../stock/stock-gate.ts';
import type { AcceptedOrder, OrderBatch } from './order.ts';
import type { OrderStore } from './order-store.ts';

/**
 * Of an epoch before all others, so that the gate must adopt them: only the worker that holds the sale's row can say whether there is room.
 */
const FOUND_AGAIN = 0;

/**
 * @param orders of one sale, of the accepted-order log: a chunk of LOST_LOOK_CHUNK at the most
 * @returns those that are lost, ready for the queue
 */
export async function findLostOrders(
  parts: { gate: Pick<StockGate, 'reservedAmong'>; orders: Pick<OrderStore, 'verdictsOf'> },
  saleId: string,
  orders: readonly AcceptedOrder[],
): Promise<OrderBatch> {
  const ids = orders.map((order) => order.id);
  // The gate first: a reservation ends only after the ledger has the order, so that none can slip through between.
  const reserved = await parts.gate.reservedAmong(saleId, ids);
  const ended = new Set((await parts.orders.verdictsOf(ids)).map((verdict) => verdict.id));
  const missing = orders.filter((order) => !reserved.has(order.id) && !ended.has(order.id));
  return { saleId, epoch: FOUND_AGAIN, orders: missing };
}
