/**
 * The layout of a reservation and of an order key, in TypeScript. In Lua:
 * lua/include/reservation.lua, lua/reserve.lua.
 */
import type { AcceptedOrder } from '../domain/order.ts';

/**
 * @param text `quantity|reserved at ms|request id|length of key|`, followed by key and buyer, which
 * may contain a "|"
 * @returns null if the text is not a reservation
 */
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

/** @returns null if field and value are not an order key */
export function decodeOrderKey(field: string, value: string): { buyerId: string; id: string; quantity: number } | null {
  const [, id, quantity] = /^(\S+) (\d{1,9})$/.exec(value) ?? [];
  const buyerId = /^(\S+) ./s.exec(field)?.[1];
  return id && buyerId ? { buyerId, id, quantity: Number(quantity) } : null;
}
