/**
 * Goes through what may be as large as the sale, a chunk at a time: the units that each buyer holds, and the order keys. It is no
 * instant's picture, so that what differs here is only a candidate, to be looked at again together with everything else.
 */

import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Pool } from 'pg';
import { type Candidates, parseOrderKey, parseReservation, readClock } from './read-gate.ts';
import { eachBuyer, findOrders } from './read-ledger.ts';
import { eachKeyedOrder } from './read-order-keys.ts';

const CHUNK = 1_000;
/** More of them are not looked at again: the first already say that all is wrong. Above what a crowd orders during a survey. */
const CANDIDATES_MAX = 50_000;

export async function surveySale(
  parts: { redis: AnyRedis; pool: Pool; saleKeys: SaleKeys },
  sale: { id: string; perBuyerLimit: number },
): Promise<Candidates> {
  return {
    buyers: sale.perBuyerLimit > 0 ? await surveyBuyers(parts, sale.id) : [],
    orderKeys: [...new Set([...(await surveyOrderKeys(parts)), ...(await surveyKeyedOrders(parts, sale.id))])],
  };
}

/**
 * Buyers whose count is not that of their orders, and those who ordered since it is read or have an order on its way: there a difference
 * may hide behind an order that only one side has, or that both have.
 */
async function surveyBuyers(
  { redis, pool, saleKeys }: { redis: AnyRedis; pool: Pool; saleKeys: SaleKeys },
  saleId: string,
): Promise<string[]> {
  const differences = new Map<string, number>();
  const moving = new Set<string>();
  const take = (buyerId: string, units: number): void => {
    const left = (differences.get(buyerId) ?? 0) - units;
    // Most are settled here, so that few are kept.
    if (left === 0) differences.delete(buyerId);
    else differences.set(buyerId, left);
  };
  const begun = await readClock(redis, saleKeys);
  for await (const fields of scanHash(redis, saleKeys.buyers)) {
    for (const [buyerId, units] of fields) differences.set(buyerId, Number(units));
  }
  for await (const fields of scanHash(redis, saleKeys.reservations)) {
    for (const [, record] of fields) {
      const reservation = parseReservation(record);
      if (reservation) moving.add(reservation.buyerId);
    }
  }
  await eachBuyer(pool, saleId, begun, (chunk) => {
    for (const { buyerId, units, since } of chunk) {
      take(buyerId, units);
      if (since) moving.add(buyerId);
    }
  });
  return [...new Set([...differences.keys(), ...moving])].slice(0, CANDIDATES_MAX);
}

/** Order keys that lead to no order, or to one that is not theirs. */
async function surveyOrderKeys({
  redis,
  pool,
  saleKeys,
}: {
  redis: AnyRedis;
  pool: Pool;
  saleKeys: SaleKeys;
}): Promise<string[]> {
  const candidates = new Set<string>();
  for await (const fields of scanHash(redis, saleKeys.orderKeys)) {
    const led = fields.map(([field, value]) => ({ field, order: parseOrderKey(field, value) }));
    const ids = led.flatMap(({ order }) => (order ? [order.id] : []));
    // In this order: an order has its reservation until the ledger has it.
    const records = ids.length > 0 ? await redis.hmget(saleKeys.reservations, ...ids) : [];
    const reserved = new Set(ids.filter((_, i) => records[i] !== null));
    const ended = await findOrders(
      pool,
      ids.filter((id) => !reserved.has(id)),
    );
    for (const { field, order } of led) {
      const row = order && ended.get(order.id);
      const fits = row && row.buyerId === order.buyerId && row.quantity === order.quantity;
      if (!order || !(reserved.has(order.id) || fits)) candidates.add(field);
      if (candidates.size >= CANDIDATES_MAX) return [...candidates];
    }
  }
  return [...candidates];
}

/** The other way round: order keys that do not lead to the order that is confirmed under them. */
async function surveyKeyedOrders(
  { redis, pool, saleKeys }: { redis: AnyRedis; pool: Pool; saleKeys: SaleKeys },
  saleId: string,
): Promise<string[]> {
  const candidates: string[] = [];
  await eachKeyedOrder(pool, saleId, async (chunk) => {
    // An order's key is in the inventory before the ledger has the order.
    for (let at = 0; at < chunk.length && candidates.length < CANDIDATES_MAX; at += CHUNK) {
      const some = chunk.slice(at, at + CHUNK);
      const values = await redis.hmget(saleKeys.orderKeys, ...some.map(({ field }) => field));
      some.forEach(({ field, id, quantity }, i) => {
        if (values[i] !== `${id} ${quantity}`) candidates.push(field);
      });
    }
  });
  return candidates;
}

async function* scanHash(redis: AnyRedis, key: string): AsyncGenerator<[string, string][]> {
  let cursor = '0';
  do {
    const [next, flat] = await redis.hscan(key, cursor, 'COUNT', CHUNK);
    const fields: [string, string][] = [];
    for (let i = 0; i < flat.length; i += 2) fields.push([flat[i] as string, flat[i + 1] as string]);
    yield fields;
    cursor = next;
  } while (cursor !== '0');
}
