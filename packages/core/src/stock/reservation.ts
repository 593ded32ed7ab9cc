/** The record that an order holds units: written by lua/reserve.lua, read here and in lua/release.lua. */
import type { AcceptedOrder } from '../orders/order.ts';

/**
 * @param record `quantity|reserved at ms|request id|buyer`; the buyer stands last because it may hold a "|"
 * @returns null where the text is no such record
 */
export function decodeReservation(id: string, record: string): AcceptedOrder | null {
  const parts = /^(\d+)\|(\d+)\|([^|]*)\|(.+)$/s.exec(record);
  if (!parts) return null;
  return {
    id,
    quantity: Number(parts[1]),
    reservedAt: Number(parts[2]),
    requestId: parts[3] as string,
    buyerId: parts[4] as string,
  };
}
