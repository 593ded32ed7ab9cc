/**
 * The layout of a reservation and of an order key, in TypeScript. In Lua:
 * lua/include/reservation.lua, lua/reserve.lua.
 */
import type { AcceptedOrder } from '../domain/order.ts';

/**
 * @returns `quantity|reserved at ms|request id|length of key|` followed by key and buyer, which may
 * contain a "|"
 */
export function encodeReservation(order: Omit<AcceptedOrder, 'id' | 'traceparent'>): string {
  // The API takes printable ASCII only as a key, so characters are bytes, as Lua counts them.
  const key = order.idempotencyKey ?? '';
  return `${order.quantity}|${order.reservedAt}|${order.requestId}|${key.length}|${key}${order.buyerId}`;
}

/** @returns null if the text is not a reservation */
export function decodeReservation(id: string, text: string): AcceptedOrder | null {
  const [, quantity, reservedAt, requestId, keyLength, keyAndBuyer] =
    /^([1-9]\d{0,14})\|(\d{1,15})\|([^|]*)\|(\d{1,15})\|(.+)$/s.exec(text) ?? [];
  if (requestId === undefined || keyAndBuyer === undefined) return null;
  const length = Number(keyLength);
  const buyerId = keyAndBuyer.slice(length);
  if (buyerId === '') return null;
  return {
    id,
    quantity: Number(quantity),
    reservedAt: Number(reservedAt),
    requestId,
    idempotencyKey: length === 0 ? null : keyAndBuyer.slice(0, length),
    buyerId,
  };
}

/**
 * @returns field of a buyer's idempotency key in the hash of order keys; a buyer's id has no space
 */
export function orderKeyField(buyerId: string, idempotencyKey: string): string {
  return `${buyerId} ${idempotencyKey}`;
}

/** @returns value of that field */
export function orderKeyValue({ id, quantity }: Pick<AcceptedOrder, 'id' | 'quantity'>): string {
  return `${id} ${quantity}`;
}
