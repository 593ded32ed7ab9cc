/**
 * What Redis has of a sale, raw: one MULTI, so that all of it is of one instant. Records are read here by the form that
 * docs/reference.md gives them, not by the code that writes them.
 */

import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';

export interface Reservation {
  readonly quantity: number;
  /** ms since 1970 by Redis' clock. */
  readonly reservedAt: number;
  readonly buyerId: string;
}

/** Buyers and order keys that a survey found to differ, to be looked at again together with everything else. */
export interface Candidates {
  readonly buyers: readonly string[];
  /** Fields of the order keys. */
  readonly orderKeys: readonly string[];
}

export interface InventorySnapshot {
  /** ms since 1970 by Redis' clock. */
  readonly at: number;
  /** Of Redis: run id of the server and replication id of its data, as the inventory names them. */
  readonly life: string;
  /** The inventory as it stands; empty where there is none. */
  readonly fields: ReadonlyMap<string, string>;
  /** null: a record that cannot be read. */
  readonly reservations: ReadonlyMap<string, Reservation | null>;
  readonly claims: readonly string[];
  readonly redeliveries: readonly string[];
  /** Of the candidates; null where there is no such field. */
  readonly buyers: ReadonlyMap<string, string | null>;
  readonly orderKeys: ReadonlyMap<string, string | null>;
  /** What Redis says of a key that is not of the type that it must be. */
  readonly wrongType: string | null;
}

export async function readInventory(
  redis: AnyRedis,
  sale: SaleKeys,
  candidates: Candidates,
): Promise<InventorySnapshot> {
  const multi = redis
    .multi()
    .time()
    .info('server')
    .info('replication')
    .hgetall(sale.inventory)
    .hgetall(sale.reservations)
    .hkeys(sale.claims)
    .hkeys(sale.redeliveries)
    // Only to learn whether they are hashes at all.
    .hlen(sale.buyers)
    .hlen(sale.orderKeys);
  // Redis takes no HMGET without fields.
  if (candidates.buyers.length > 0) multi.hmget(sale.buyers, ...candidates.buyers);
  if (candidates.orderKeys.length > 0) multi.hmget(sale.orderKeys, ...candidates.orderKeys);
  const replies = (await multi.exec()) ?? [];
  let wrongType: string | null = null;
  const values = replies.map(([error, value]) => {
    if (!error) return value;
    if (!error.message.startsWith('WRONGTYPE')) throw error;
    wrongType = error.message;
    return null;
  });
  const [time, server, replication, inventory, reservations, claims, redeliveries, , , ...rest] = values as [
    [string, string],
    string,
    string,
    Record<string, string> | null,
    Record<string, string> | null,
    string[] | null,
    string[] | null,
    unknown,
    unknown,
    ...((string | null)[] | null)[],
  ];
  const buyers = candidates.buyers.length > 0 ? rest.shift() : [];
  const orderKeys = candidates.orderKeys.length > 0 ? rest.shift() : [];
  return {
    at: milliseconds(time),
    life: `${/run_id:([0-9a-f]+)/.exec(server)?.[1]} ${/master_replid:([0-9a-f]+)/.exec(replication)?.[1]}`,
    fields: new Map(Object.entries(inventory ?? {})),
    reservations: new Map(Object.entries(reservations ?? {}).map(([id, record]) => [id, parseReservation(record)])),
    claims: claims ?? [],
    redeliveries: redeliveries ?? [],
    buyers: new Map(candidates.buyers.map((buyer, i) => [buyer, buyers?.[i] ?? null])),
    orderKeys: new Map(candidates.orderKeys.map((field, i) => [field, orderKeys?.[i] ?? null])),
    wrongType,
  };
}

/** @returns ms since 1970 by the clock of the Redis that has the sale: in a cluster the key says which node that is */
export async function readClock(redis: AnyRedis, sale: SaleKeys): Promise<number> {
  const [time] = ((await redis.multi().time().exists(sale.inventory).exec()) ?? []) as [[null, [string, string]]];
  return milliseconds(time[1]);
}

/** Redis' clock, and the inventory as it stands a moment after the snapshot. */
export async function readPulse(redis: AnyRedis, sale: SaleKeys): Promise<{ at: number; numbers: string }> {
  const [time, numbers] = ((await redis
    .multi()
    .time()
    .hmget(sale.inventory, 'allotment', 'available', 'reserved', 'sold')
    .exec()) ?? []) as [[null, [string, string]], [unknown, string[] | null]];
  return { at: milliseconds(time[1]), numbers: String(numbers[1]) };
}

/** @returns null where the text is not `quantity|reserved at ms|request id|length of key|` with key and buyer behind it */
export function parseReservation(record: string): Reservation | null {
  const [quantity, reservedAt, requestId, keyLength] = record.split('|', 4);
  if (quantity === undefined || reservedAt === undefined || requestId === undefined || keyLength === undefined) {
    return null;
  }
  if (![quantity, reservedAt, keyLength].every((part) => /^\d{1,15}$/.test(part)) || Number(quantity) < 1) return null;
  const head = [quantity, reservedAt, requestId, keyLength, ''].join('|');
  if (!record.startsWith(head)) return null;
  // The script counts the key in bytes.
  const buyerId = Buffer.from(record.slice(head.length)).subarray(Number(keyLength)).toString();
  if (buyerId === '') return null;
  return { quantity: Number(quantity), reservedAt: Number(reservedAt), buyerId };
}

/** `order id quantity`. @returns null where it is not that */
export function parseOrderKey(field: string, value: string): { buyerId: string; id: string; quantity: number } | null {
  const order = /^(\S+) (\d{1,9})$/.exec(value);
  const buyerId = /^(\S+) ./s.exec(field)?.[1];
  return order && buyerId ? { buyerId, id: order[1] as string, quantity: Number(order[2]) } : null;
}

function milliseconds([seconds, microseconds]: [string, string]): number {
  return Number(seconds) * 1_000 + Math.floor(Number(microseconds) / 1_000);
}
