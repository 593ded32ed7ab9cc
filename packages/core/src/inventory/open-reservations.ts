/**
 * How many orders of a sale are reserved, and since when. For metrics only; no decision uses it.
 */
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { hashPages } from './hash-pages.ts';
import type { Keys } from './keys.ts';
import { decodeReservation } from './reservation.ts';

/** Most reservations that are scanned for the oldest one. */
const OLDEST_SCAN_MAX = 100_000;

export interface ReservationFigures {
  readonly orders: number;
  /** Orders that the reaper has enqueued again. */
  readonly redelivered: number;
  /** ms since 1970 by Redis' clock, among OLDEST_SCAN_MAX reservations; null if there is none. */
  readonly oldestReservedAt: number | null;
}

export type OpenReservations = ReturnType<typeof createOpenReservations>;

export function createOpenReservations({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    async read(saleId: string): Promise<ReservationFigures> {
      const sale = keys.sale(saleId);
      const [orders, redelivered] = await Promise.all([redis.hlen(sale.reservations), redis.hlen(sale.redeliveries)]);
      let oldest = Number.POSITIVE_INFINITY;
      let read = 0;
      for await (const page of hashPages(redis, sale.reservations)) {
        for (const [id, text] of page) oldest = Math.min(oldest, decodeReservation(id, text)?.reservedAt ?? oldest);
        read += page.length;
        if (read >= OLDEST_SCAN_MAX) break;
      }
      return { orders, redelivered, oldestReservedAt: Number.isFinite(oldest) ? oldest : null };
    },
  };
}
