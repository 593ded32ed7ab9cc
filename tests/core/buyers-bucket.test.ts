/** lua/reserve.lua: the buyer's bucket. Numbers in brackets are those of docs/reference.md. */

import { createInventory, type Inventory, type OrderRequest } from '@flash-sale/core/inventory/inventory.ts';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { makeSale, orderRequest, outcomesOf, wordsOf } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;
/** Five tokens at one a second: kept for ten seconds. */
const BUCKET = { capacity: 5, refillRate: 1 };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
});
afterAll(() => world.close());

const bucketKeys = (saleId: string): [string, string] => {
  const { buckets0, buckets1 } = world.keys.sale(saleId);
  return [buckets0, buckets1];
};
const reserve = (saleId: string, orders: OrderRequest[], permits = -1, bucket = BUCKET) =>
  outcomesOf(inventory.reserve(saleId, orders, permits, bucket));

test('[trap 29] 200 parallel orders of one buyer pass as many as there are tokens', async () => {
  const sale = await makeSale(world, { units: 1_000 });
  const all = await Promise.all(
    Array.from({ length: 200 }, () =>
      reserve(sale.id, [orderRequest(sale.id, 'flooder')], -1, { capacity: 100, refillRate: 1 }),
    ),
  );
  const passed = wordsOf(all.flat()).filter((word) => word === 'reserved').length;
  expect(passed).toBeGreaterThanOrEqual(100);
  expect(passed).toBeLessThanOrEqual(102);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ reserved: passed });
});

test('refusals take no token: one who is refused all the time recovers as fast as one who waits', async () => {
  const sale = await makeSale(world, { units: 1_000 });
  const fast = { capacity: 1, refillRate: 4 };
  await reserve(sale.id, [orderRequest(sale.id, 'steady')], -1, fast);
  const deadline = Date.now() + 2_000;
  let word = 'buyer_limited';
  let refusals = 0;
  while (word === 'buyer_limited' && Date.now() < deadline) {
    [word] = wordsOf(await reserve(sale.id, [orderRequest(sale.id, 'steady')], -1, fast)) as [string];
    if (word === 'buyer_limited') refusals += 1;
  }
  expect(word).toBe('reserved');
  expect(refusals).toBeGreaterThan(1);
});

test('a limited order takes no unit and no permit, and says when to come back', async () => {
  const sale = await makeSale(world);
  const orders = Array.from({ length: 7 }, () => orderRequest(sale.id, 'ann'));
  const { decisions, permitsLeft } = await inventory.reserve(sale.id, orders, 7, BUCKET);
  expect(wordsOf(decisions.map((decision) => decision.outcome))).toEqual([
    ...Array(5).fill('reserved'),
    'buyer_limited',
    'buyer_limited',
  ]);
  expect(permitsLeft).toBe(2);
  const last = decisions[6]?.outcome as { waitMs: number };
  expect(last.waitMs).toBeGreaterThan(0);
  expect(last.waitMs).toBeLessThanOrEqual(1_000);
  expect(decisions.map((decision) => decision.tokensLeft)).toEqual([4, 3, 2, 1, 0, 0, 0]);
});

test('one flooder does not touch the bucket of another buyer', async () => {
  const sale = await makeSale(world, { units: 100 });
  for (let i = 0; i < 10; i++) await reserve(sale.id, [orderRequest(sale.id, 'flooder')], -1, BUCKET);
  expect(wordsOf(await reserve(sale.id, [orderRequest(sale.id, 'quiet')], -1, BUCKET))).toEqual(['reserved']);
});

test('a clock that was set back locks no buyer out', async () => {
  const sale = await makeSale(world);
  const inAnHour = (Date.now() + 3_600_000) * 1_000;
  const [, newer] = bucketKeys(sale.id);
  await world.redis.hset(newer, { ' since': inAnHour / 1_000, ann: `0.5:${inAnHour}` });
  const fast = { capacity: 2, refillRate: 10 };
  expect(wordsOf(await reserve(sale.id, [orderRequest(sale.id)], -1, fast))).toEqual(['buyer_limited']);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(wordsOf(await reserve(sale.id, [orderRequest(sale.id)], -1, fast))).toEqual(['reserved']);
  // From now on the hash counts by the new clock, and takes its turn.
  expect(Number(await world.redis.hget(newer, ' since'))).toBeLessThanOrEqual(Date.now() + 1_000);
});

test('a clock that was set back leaves no old word above a new one', async () => {
  const sale = await makeSale(world);
  const [older, newer] = bucketKeys(sale.id);
  const inAnHour = (Date.now() + 3_600_000) * 1_000;
  await world.redis.hset(older, { ' since': inAnHour / 1_000 - 10_000, bob: `5.000000:${inAnHour - 9_000_000}` });
  await world.redis.hset(newer, { ' since': inAnHour / 1_000, bob: `1.000000:${inAnHour}` });
  expect(wordsOf(await reserve(sale.id, [orderRequest(sale.id, 'ann')]))).toEqual(['reserved']);
  expect(await world.redis.exists(older)).toBe(0);
  expect(wordsOf(await reserve(sale.id, [orderRequest(sale.id, 'bob'), orderRequest(sale.id, 'bob')]))).toEqual([
    'reserved',
    'buyer_limited',
  ]);
});

describe('in one of two hashes that take turns', () => {
  /** As if so many ms had passed for the hashes; the buckets in them stay as they are. */
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

  test('is still counted after one turn, and dropped after two', async () => {
    const sale = await makeSale(world);
    // Five tokens at one in a hundred seconds: kept for 505 s.
    const slow = { ...BUCKET, refillRate: 0.01 };
    const order = (saleId: string, buyer: string) => reserve(saleId, [orderRequest(saleId, buyer)], -1, slow);
    for (let i = 0; i < 5; i++) await order(sale.id, 'ann');
    await makeOlder(sale.id, 500_000);
    await order(sale.id, 'bob');
    expect(await buyersOf(sale.id)).toEqual([[], ['ann', 'bob']]);
    await makeOlder(sale.id, 5_000);
    await order(sale.id, 'eve');
    expect(await buyersOf(sale.id)).toEqual([['eve'], ['ann', 'bob']]);
    // His word in the newer one stands above that in the older.
    expect(wordsOf(await order(sale.id, 'ann'))).toEqual(['buyer_limited']);
    expect((await inventory.reserve(sale.id, [orderRequest(sale.id, 'bob')], -1, slow)).decisions[0]?.tokensLeft).toBe(
      3,
    );
    expect((await inventory.reserve(sale.id, [orderRequest(sale.id, 'bob')], -1, slow)).decisions[0]?.tokensLeft).toBe(
      2,
    );
    expect(await buyersOf(sale.id)).toEqual([
      ['bob', 'eve'],
      ['ann', 'bob'],
    ]);
    await makeOlder(sale.id, 505_000);
    await order(sale.id, 'tom');
    expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['tom']]);
  });

  test('is written by refusals to none, and is gone once nobody orders any more', async () => {
    const sale = await makeSale(world);
    const ttls = () => Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
    const NOT_THERE = -2;
    await reserve(sale.id, [orderRequest(sale.id)], 0, BUCKET);
    expect(await ttls()).toEqual([NOT_THERE, NOT_THERE]);
    await order(sale.id, 'ann');
    expect((await ttls())[1]).toBeGreaterThan(18);
    expect((await ttls())[1]).toBeLessThanOrEqual(20);
    // A token in ten thousand seconds: an hour for each of the two at most.
    await reserve(sale.id, [orderRequest(sale.id, 'bob')], -1, { capacity: 5, refillRate: 0.0001 });
    expect((await ttls())[1]).toBeGreaterThan(7_190);
    expect((await ttls())[1]).toBeLessThanOrEqual(7_200);
  });

  test('is kept for as long as it needs, also where a process of other settings takes turns sooner', async () => {
    const sale = await makeSale(world);
    const slow = { capacity: 3, refillRate: 0.01 };
    const [, newer] = bucketKeys(sale.id);
    const reserveSlowly = (buyer: string) => reserve(sale.id, [orderRequest(sale.id, buyer)], -1, slow);
    for (let i = 0; i < 3; i++) await reserveSlowly('ann');
    await makeOlder(sale.id, 10_000);
    await order(sale.id, 'bob');
    expect(await buyersOf(sale.id)).toEqual([['bob'], ['ann']]);
    // Ten seconds are enough for the five tokens of this process, and not for the three of the other.
    await makeOlder(sale.id, 10_000);
    await order(sale.id, 'eve');
    expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['ann']]);
    expect(wordsOf(await reserveSlowly('ann'))).toEqual(['buyer_limited']);
    // Nor is the newer one gone before the older.
    const ttls = await Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
    expect(ttls[0]).toBeGreaterThanOrEqual(ttls[1] as number);
    await makeOlder(sale.id, 310_000);
    await order(sale.id, 'tom');
    expect(await buyersOf(sale.id)).toEqual([['bob', 'eve'], ['tom']]);
    await order(sale.id, 'pat');
    const later = await Promise.all(bucketKeys(sale.id).map((key) => world.redis.ttl(key)));
    expect(later[1]).toBeGreaterThan(later[0] as number);
    // The slow ones are gone, and with them what they needed.
    expect(await world.redis.hget(newer, ' kept for')).toBe('10');
    await makeOlder(sale.id, 10_000);
    await order(sale.id, 'sue');
    expect(await buyersOf(sale.id)).toEqual([['sue'], ['pat', 'tom']]);
  });
});

test('without permits an order is refused, and its token stays', async () => {
  const sale = await makeSale(world);
  const { decisions } = await inventory.reserve(sale.id, [orderRequest(sale.id), orderRequest(sale.id)], 1, BUCKET);
  expect(wordsOf(decisions.map((decision) => decision.outcome))).toEqual(['reserved', 'system_limited']);
  expect(decisions[1]?.tokensLeft).toBe(4);
});
