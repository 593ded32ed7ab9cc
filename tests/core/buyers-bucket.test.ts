/**
 * The two hashes of the buyers' buckets (lua/include/buyer-buckets.lua); what a bucket decides is
 * in the model.
 */

import type { OrderRequest } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { beforeAll, expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { kindsOf, makeSale, orderRequest, outcomesOf } from '../support/sales.ts';

const world = useWorld();
let inventory: Inventory;
/** Five tokens, one a second: kept for ten seconds. */
const BUCKET = { capacity: 5, refillRate: 1 };

beforeAll(() => {
  inventory = createInventory(world);
});

const bucketKeys = (saleId: string): [string, string] => {
  const { buckets0, buckets1 } = world.keys.sale(saleId);
  return [buckets0, buckets1];
};
const reserve = (saleId: string, orders: OrderRequest[], permits = -1, bucket = BUCKET) =>
  outcomesOf(inventory.reserve(saleId, orders, permits, bucket));

test('after the clock was set back, no older bucket counts instead of a newer one', async () => {
  const sale = await makeSale(world);
  const [older, newer] = bucketKeys(sale.id);
  const inAnHour = (Date.now() + 3_600_000) * 1_000;
  await world.redis.hset(older, { ' since': inAnHour / 1_000 - 10_000, bob: `5.000000:${inAnHour - 9_000_000}` });
  await world.redis.hset(newer, { ' since': inAnHour / 1_000, bob: `1.000000:${inAnHour}` });
  expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id, 'ann')]))).toEqual(['reserved']);
  expect(await world.redis.exists(older)).toBe(0);
  // From now on the hash counts by the new clock.
  expect(Number(await world.redis.hget(newer, ' since'))).toBeLessThanOrEqual(Date.now() + 1_000);
  expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id, 'bob'), orderRequest(sale.id, 'bob')]))).toEqual([
    'reserved',
    'buyer_limited',
  ]);
});

/** As if time had passed for the hashes, but not for the buckets in them. */
async function makeOlder(saleId: string, ms: number): Promise<void> {
  for (const key of bucketKeys(saleId))
    if (await world.redis.exists(key)) await world.redis.hincrby(key, ' since', -ms);
}
const buyersOf = async (saleId: string): Promise<string[][]> =>
  Promise.all(
    bucketKeys(saleId).map(async (key) =>
      (await world.redis.hkeys(key)).filter((field) => !field.startsWith(' ')).sort(),
    ),
  );
const order = (saleId: string, buyer: string) => reserve(saleId, [orderRequest(saleId, buyer)]);

test('a bucket still counts after one turn of the hashes, and is deleted after two', async () => {
  const sale = await makeSale(world);
  // Five tokens, one in a hundred seconds: kept for 505 s.
  const slow = { ...BUCKET, refillRate: 0.01 };
  const order = (saleId: string, buyer: string) => reserve(saleId, [orderRequest(saleId, buyer)], -1, slow);
  for (let i = 0; i < 5; i++) await order(sale.id, 'ann');
  await makeOlder(sale.id, 500_000);
  await order(sale.id, 'bob');
  expect(await buyersOf(sale.id)).toEqual([[], ['ann', 'bob']]);
  await makeOlder(sale.id, 5_000);
  await order(sale.id, 'eve');
  expect(await buyersOf(sale.id)).toEqual([['eve'], ['ann', 'bob']]);
  // The bucket in the newer hash counts, not that in the older.
  expect(kindsOf(await order(sale.id, 'ann'))).toEqual(['buyer_limited']);
  for (const tokensLeft of [3, 2]) {
    const { decisions } = await inventory.reserve(sale.id, [orderRequest(sale.id, 'bob')], -1, slow);
    expect(decisions[0]).toMatchObject({ tokensLeft });
  }
  expect(await buyersOf(sale.id)).toEqual([
    ['bob', 'eve'],
    ['ann', 'bob'],
  ]);
  await makeOlder(sale.id, 505_000);
  await order(sale.id, 'tom');
  expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['tom']]);
});

test('a bucket is not written by a refusal, and expires', async () => {
  const sale = await makeSale(world);
  const ttls = () => Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
  const NOT_THERE = -2;
  await reserve(sale.id, [orderRequest(sale.id)], 0, BUCKET);
  expect(await ttls()).toEqual([NOT_THERE, NOT_THERE]);
  await order(sale.id, 'ann');
  expect((await ttls())[1]).toBeGreaterThan(18);
  expect((await ttls())[1]).toBeLessThanOrEqual(20);
  // One token in ten thousand seconds: at most an hour for each of the two.
  await reserve(sale.id, [orderRequest(sale.id, 'bob')], -1, { capacity: 5, refillRate: 0.0001 });
  expect((await ttls())[1]).toBeGreaterThan(7_190);
  expect((await ttls())[1]).toBeLessThanOrEqual(7_200);
});

test('a bucket is kept until it is full, even if a process with other settings needs less time', async () => {
  const sale = await makeSale(world);
  const slow = { capacity: 3, refillRate: 0.01 };
  const [, newer] = bucketKeys(sale.id);
  const reserveSlowly = (buyer: string) => reserve(sale.id, [orderRequest(sale.id, buyer)], -1, slow);
  for (let i = 0; i < 3; i++) await reserveSlowly('ann');
  await makeOlder(sale.id, 10_000);
  await order(sale.id, 'bob');
  expect(await buyersOf(sale.id)).toEqual([['bob'], ['ann']]);
  // Ten seconds are enough for this process's five tokens, not for the other's three.
  await makeOlder(sale.id, 10_000);
  await order(sale.id, 'eve');
  expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['ann']]);
  expect(kindsOf(await reserveSlowly('ann'))).toEqual(['buyer_limited']);
  // The newer hash does not expire before the older.
  const ttls = await Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
  expect(ttls[0]).toBeGreaterThanOrEqual(ttls[1] as number);
  await makeOlder(sale.id, 310_000);
  await order(sale.id, 'tom');
  expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['tom']]);
  await order(sale.id, 'pat');
  const later = await Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
  expect(later[1]).toBeGreaterThan(later[0] as number);
  // The slow process's buckets are gone, and with them the time that they needed.
  expect(await world.redis.hget(newer, ' kept for')).toBe('10');
  await makeOlder(sale.id, 10_000);
  await order(sale.id, 'sue');
  expect(await buyersOf(sale.id)).toEqual([['sue'], ['pat', 'tom']]);
});

test('the sales of an event share a buyer’s bucket, other sales do not', async () => {
  const [small, large, other] = await Promise.all(
    ['shoe.38', 'shoe.39', 'shoe-40'].map((id) => makeSale(world, { id })),
  );
  const two = { capacity: 2, refillRate: 0.01 };
  const kinds: (string | undefined)[] = [];
  for (const sale of [small, large, small, large, other]) {
    const { id } = sale as { id: string };
    kinds.push(...kindsOf(await reserve(id, [orderRequest(id, 'eve')], -1, two)));
  }
  expect(kinds).toEqual(['reserved', 'reserved', 'buyer_limited', 'buyer_limited', 'reserved']);
});
