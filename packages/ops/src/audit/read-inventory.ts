/** What Redis has of a sale: one MULTI, so that everything in it is of one instant. */
import { hashPages } from '@flash-sale/core/inventory/hash-pages.ts';
import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import { decodeReservation } from '@flash-sale/core/inventory/reservation.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';

/** The sale's numbers, as fields of its inventory. */
export const NUMBERS = ['allotment', 'available', 'reserved', 'sold'] as const;

export type InventorySnapshot = Awaited<ReturnType<typeof readInventory>>;

export async function readInventory(redis: AnyRedis, sale: SaleKeys, buyerIds: readonly string[]) {
  const multi = redis
    .multi()
    .time()
    .info('server')
    .info('replication')
    .hgetall(sale.inventory)
    .hgetall(sale.reservations)
    .hkeys(sale.claims)
    .hkeys(sale.redeliveries)
    // HMGET needs a field. One that does not exist still shows whether the key is a hash.
    .hmget(sale.buyers, ...buyerIds, '')
    .hlen(sale.orderKeys);
  let wrongType = null as string | null;
  const replies = ((await multi.exec()) ?? []).map(([error, value]) => {
    if (!error) return value;
    if (!error.message.startsWith('WRONGTYPE')) throw error;
    wrongType = error.message;
    return null;
  });
  const [time, server, replication] = replies as [[string, string], string, string];
  const [fields, reservations] = replies.slice(3, 5) as (Record<string, string> | null)[];
  const [claims, redeliveries] = replies.slice(5, 7) as (string[] | null)[];
  const units = replies[7] as (string | null)[] | null;
  return {
    /** ms since 1970 by the clock of Redis. */
    at: milliseconds(time),
    /** Of Redis, in the form in which the inventory stores it. */
    instanceId: `${/run_id:([0-9a-f]+)/.exec(server)?.[1]} ${/master_replid:([0-9a-f]+)/.exec(replication)?.[1]}`,
    /** Empty if there is no inventory. */
    fields: new Map(Object.entries(fields ?? {})),
    /** null: the record cannot be decoded. */
    reservations: new Map(
      Object.entries(reservations ?? {}).map(([id, record]) => [id, decodeReservation(id, record)]),
    ),
    claims: claims ?? [],
    redeliveries: redeliveries ?? [],
    /** Units by buyer, of those that were asked for; null if there is no such field. */
    buyers: new Map(buyerIds.map((buyerId, i) => [buyerId, units?.[i] ?? null])),
    /** What Redis says of a key with the wrong type. */
    wrongType,
  };
}

/** The clock of the Redis node that has the sale, and the inventory's numbers at that time. */
export async function readNumbers(redis: AnyRedis, sale: SaleKeys): Promise<{ at: number; numbers: string }> {
  const replies = await redis
    .multi()
    .time()
    .hmget(sale.inventory, ...NUMBERS)
    .exec();
  const [time, numbers] = replies as [[null, [string, string]], [unknown, string[] | null]];
  return { at: milliseconds(time[1]), numbers: String(numbers[1]) };
}

function milliseconds([seconds, microseconds]: [string, string]): number {
  return Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
}

/** @returns nothing if the key has another type, which readInventory reports */
export async function* pagesIfHash(redis: AnyRedis, key: string): AsyncGenerator<[string, string][]> {
  if ((await redis.type(key)) === 'hash') yield* hashPages(redis, key);
}
