/** How many orders of a sale hold units and have not ended, and since when: to be looked at, nothing is decided by it. */
import { OLDEST_LOOK_MAX, REBUILD_CHUNK } from '../config/limits.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';
import { decodeReservation } from './reservation.ts';

export type OrdersUnderWay = ReturnType<typeof createOrdersUnderWay>;

export function createOrdersUnderWay({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** @returns `redelivered`: those that the reaper had to hand over again; `oldestReservedAt`: ms since 1970 by Redis' clock, of OLDEST_LOOK_MAX of them */
    async read(saleId: string): Promise<{ orders: number; redelivered: number; oldestReservedAt: number | null }> {
      const sale = keys.sale(saleId);
      const [orders, redelivered] = await Promise.all([redis.hlen(sale.reservations), redis.hlen(sale.redeliveries)]);
      let oldest = Number.POSITIVE_INFINITY;
      let looked = 0;
      let cursor = '0';
      do {
        const [next, fields] = await redis.hscan(sale.reservations, cursor, 'COUNT', REBUILD_CHUNK);
        cursor = next;
        for (let i = 0; i < fields.length; i += 2) {
          const order = decodeReservation(fields[i] as string, fields[i + 1] as string);
          if (order) oldest = Math.min(oldest, order.reservedAt);
        }
        looked += fields.length / 2;
      } while (cursor !== '0' && looked < OLDEST_LOOK_MAX);
      return { orders, redelivered, oldestReservedAt: Number.isFinite(oldest) ? oldest : null };
    },
  };
}
