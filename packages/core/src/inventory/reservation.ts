/** The record that an order holds units: written by lua/reserve.lua, read here and in lua/release.lua. */
import type { AcceptedOrder } from '../domain/order.ts';

/**
 * @param record `quantity|reserved at ms|request id|length of key|` and then key and buyer, which may hold a "|"
 * @returns null where the text is no such record
 */
export function decodeReservation(id: string, record: string): AcceptedOrder | null {
  const parts = /^(\d+)\|(\d+)\|([^|]*)\|(\d+)\|(.+)$/s.exec(record);
  if (!parts) return null;
  const [keyLength, keyAndBuyer] = [Number(parts[4]), parts[5] as string];
  return {
    id,
    quantity: Number(parts[1]),
    reservedAt: Number(parts[2]),
    requestId: parts[3] as string,
    idempotencyKey: keyLength === 0 ? null : keyAndBuyer.slice(0, keyLength),
    buyerId: keyAndBuyer.slice(keyLength),
  };
}
