/** How many orders of a sale hold units and have not ended, and since when: to be looked at, nothing is decided by it. */
import { OLDEST_LOOK_MAX } from '../limits.ts';
import type { Keys } from '../redis/keys.ts';
import type { AnyRedis } from '../redis/open-redis.ts';
import { decodeReservation } from './reservation.ts';

export type OrdersUnderWay = ReturnType<typeof createOrdersUnderWay>;

export function createOrdersUnderWay({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** @returns `handedOver`: those that the sweep had to hand over again; `oldestReservedAt`: ms since 1970 by Redis' clock, of the first OLDEST_LOOK_MAX */
    async read(saleId: string): Promise<{ orders: number; handedOver: number; oldestReservedAt: number | null }> {
      const sale = keys.sale(saleId);
      const [orders, handedOver, first] = await Promise.all([
        redis.zcard(sale.unsettled),
        redis.hlen(sale.handOvers),
        redis.zrangebyscore(sale.unsettled, '-inf', '+inf', 'LIMIT', 0, OLDEST_LOOK_MAX),
      ]);
      const records = first.length === 0 ? [] : await redis.hmget(sale.reservations, ...first);
      // The set has the time of the last hand-over; how old the order is stands in its record.
      const times = records.flatMap(
        (record, i) => decodeReservation(first[i] as string, record ?? '')?.reservedAt ?? [],
      );
      return { orders, handedOver, oldestReservedAt: times.length === 0 ? null : Math.min(...times) };
    },
  };
}
