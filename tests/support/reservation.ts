/** Writes what lua/include/reservation.lua writes. */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';

/**
 * @returns `quantity|reserved at ms|request id|length of key|` followed by key and buyer, which may
 * contain a "|"
 */
export function encodeReservation(order: Omit<AcceptedOrder, 'id' | 'traceparent'>): string {
  // The API takes printable ASCII only as a key, so characters are bytes, as Lua counts them.
  const key = order.idempotencyKey ?? '';
  return `${order.quantity}|${order.reservedAt}|${order.requestId}|${key.length}|${key}${order.buyerId}`;
}
