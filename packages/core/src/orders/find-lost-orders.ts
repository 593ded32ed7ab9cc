/**
 * Finds orders that were accepted and are in neither place: not in the ledger, and not among the gate's reservations. Possible only where
 * Redis itself lost its disk, or was restored from an older one.
 */
import { LOST_LOOK_CHUNK } from '../limits.ts';
import type { StockGate } from '../stock/stock-gate.ts';
import type { AcceptedOrder, OrderBatch } from './order.ts';
import type { OrderStore } from './order-store.ts';

/**
 * Of an epoch before all others, so that the gate must adopt them: only the worker that holds the sale's row can say whether there is room.
 */
const FOUND_AGAIN = 0;

/**
 * @param accepted orders of the accepted-order log, by sale
 * @returns those that are lost, ready for the queue
 */
export async function findLostOrders(
  parts: { gate: Pick<StockGate, 'reservedAmong'>; orders: Pick<OrderStore, 'verdictsOf'> },
  accepted: ReadonlyMap<string, readonly AcceptedOrder[]>,
): Promise<OrderBatch[]> {
  const lost: OrderBatch[] = [];
  for (const [saleId, orders] of accepted) {
    for (let at = 0; at < orders.length; at += LOST_LOOK_CHUNK) {
      const chunk = orders.slice(at, at + LOST_LOOK_CHUNK);
      const ids = chunk.map((order) => order.id);
      // The gate first: a reservation ends only after the ledger has the order, so that none can slip through between.
      const reserved = await parts.gate.reservedAmong(saleId, ids);
      const ended = new Set((await parts.orders.verdictsOf(ids)).map((verdict) => verdict.id));
      const missing = chunk.filter((order) => !reserved.has(order.id) && !ended.has(order.id));
      if (missing.length > 0) lost.push({ saleId, epoch: FOUND_AGAIN, orders: missing });
    }
  }
  return lost;
}
