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

/** Keys that one EXISTS asks for: it blocks Redis for 0.1 ms. */
const EXISTS_MAX = 512;

/** @returns those of the sales that have reservations. Most have none: it halves what has some. */
export async function salesWithReservations(
  at: { redis: AnyRedis; keys: Keys },
  saleIds: readonly string[],
  // A command of a cluster has keys of one sale.
  size = at.redis.isCluster ? 1 : EXISTS_MAX,
): Promise<readonly string[]> {
  const found: Promise<readonly string[]>[] = [];
  for (let from = 0; from < saleIds.length; from += size) found.push(among(saleIds.slice(from, from + size)));
  return (await Promise.all(found)).flat();

  async function among(some: readonly string[]): Promise<readonly string[]> {
    if ((await at.redis.exists(...some.map((id) => at.keys.sale(id).reservations))) === 0) return [];
    return some.length === 1 ? some : salesWithReservations(at, some, Math.ceil(some.length / 2));
  }
}
