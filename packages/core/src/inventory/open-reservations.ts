/**
 * Which sales have reservations. For metrics only: how many orders of a sale are reserved, and
 * since when.
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

/** Sales that are asked for together: it blocks Redis for 0.1 ms if none has reservations. */
const SALES_AT_ONCE = 512;

/** @returns those of the sales that have reservations, which most have not */
export async function salesWithReservations(
  { redis, keys }: { redis: AnyRedis; keys: Keys },
  saleIds: readonly string[],
): Promise<readonly string[]> {
  const found: string[] = [];
  for (let from = 0; from < saleIds.length; from += SALES_AT_ONCE) {
    const some = saleIds.slice(from, from + SALES_AT_ONCE);
    const names = some.map((id) => keys.sale(id).reservations);
    // A command of a cluster has keys of one sale.
    if (!redis.isCluster && (await redis.exists(...names)) === 0) continue;
    const exist = await Promise.all(names.map((name) => redis.exists(name)));
    found.push(...some.filter((_, i) => exist[i] === 1));
  }
  return found;
}
