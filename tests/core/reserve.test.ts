/**
 * lua/reserve.lua with parallel calls, large batches and Redis' own clock. Single decisions are in
 * tests/model.
 */

import type { OrderRequest } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { beforeAll, expect, test } from 'vitest';
import { times, useWorld } from '../support/fixtures.ts';
import { kindsOf, makeSale, orderRequest, outcomesOf } from '../support/sales.ts';

const world = useWorld();
let inventory: Inventory;
const UNLIMITED = { capacity: 0, refillRate: 1 };

beforeAll(() => {
  inventory = createInventory(world);
});

const reserve = (saleId: string, orders: OrderRequest[], permits = -1, bucket = UNLIMITED) =>
  outcomesOf(inventory.reserve(saleId, orders, permits, bucket));

/** At most 100. */
const batchOf = (saleId: string, wanted: number): OrderRequest[] =>
  Array.from({ length: Math.min(100, wanted) }, () => orderRequest(saleId));

test.each([1, 2, 10_000])('[I2] [trap 2] %i units: exactly that many are sold, in any batches', async (units) => {
  const sale = await makeSale(world, { units });
  const wanted = units + 50;
  const all = kindsOf(
    (await times(Math.ceil(wanted / 100), (i) => reserve(sale.id, batchOf(sale.id, wanted - 100 * i)))).flat(),
  );
  expect(all.filter((kind) => kind === 'reserved')).toHaveLength(units);
  expect(all.filter((kind) => kind === 'sold_out')).toHaveLength(50);
  expect((await inventory.read(sale.id)).numbers).toEqual({
    allotment: units,
    available: 0,
    reserved: units,
    sold: 0,
  });
});

test('[trap 3] after 10,000 refusals stock is 0, and one returned unit makes exactly one sale possible', async () => {
  const sale = await makeSale(world, { units: 1 });
  const first = orderRequest(sale.id);
  await reserve(sale.id, [first]);
  for (let i = 0; i < 100; i++) await reserve(sale.id, batchOf(sale.id, 100));
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 0, reserved: 1 });
  await inventory.release(sale.id, 1, [first.id]);
  expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id), orderRequest(sale.id)]))).toEqual([
    'reserved',
    'sold_out',
  ]);
});

test('[trap 6] an order of an unknown sale writes nothing, not even the bucket of its buyer', async () => {
  const bucket = { capacity: 5, refillRate: 1 };
  expect(kindsOf(await reserve('no-sale', [keyed('no-sale')], -1, bucket))).toEqual(['unknown_sale']);
  expect(await world.redis.exists(...Object.values(world.keys.sale('no-sale')))).toBe(0);
  const sale = await makeSale(world, { perBuyerLimit: 1 });
  await reserve(sale.id, [keyed(sale.id)], -1, bucket);
  expect(await world.redis.exists(...Object.values(world.keys.sale(sale.id)))).toBeGreaterThan(3);
});

test('[trap 5] scripts that Redis forgot are sent again', async () => {
  const sale = await makeSale(world);
  await reserve(sale.id, [orderRequest(sale.id)]);
  await world.redis.script('FLUSH');
  expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id)]))).toEqual(['reserved']);
});

test('[I6] [trap 1] 100 parallel posts of one buyer with cap 1 take exactly one unit', async () => {
  const sale = await makeSale(world, { units: 50, perBuyerLimit: 1 });
  const all = await times(100, () => reserve(sale.id, [orderRequest(sale.id)]));
  expect(kindsOf(all.flat()).filter((kind) => kind === 'reserved')).toHaveLength(1);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 49, reserved: 1 });
});

const keyed = (saleId: string): OrderRequest => ({ ...orderRequest(saleId), idempotencyKey: 'k' });

test('[I4] [trap 28] 50 parallel orders with one key are one order, in one batch and in many', async () => {
  const sale = await makeSale(world, { units: 10 });
  const batch = () => Array.from({ length: 5 }, () => keyed(sale.id));
  const all = await times(10, () => reserve(sale.id, batch()));
  expect(kindsOf(all.flat()).filter((kind) => kind === 'reserved')).toHaveLength(1);
  const ids = new Set(all.flat().flatMap((outcome) => (outcome.kind === 'replayed' ? [outcome.orderId] : [])));
  expect(ids.size).toBe(1);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 9, reserved: 1 });
});

test('[I4] [trap 26] an idempotency key gets its order again when the sale is sold out, over, limited, and released', async () => {
  const sale = await makeSale(world, { units: 1, perBuyerLimit: 1 });
  const first = keyed(sale.id);
  await reserve(sale.id, [first]);
  await inventory.configure({ ...sale, paused: true, endsAt: Date.now() - 1, version: 9 });
  const again = () => inventory.reserve(sale.id, [keyed(sale.id)], 0, { capacity: 1, refillRate: 1 });
  const { decisions, permitsLeft } = await again();
  expect(decisions[0]).toMatchObject({ outcome: { kind: 'replayed', orderId: first.id }, tokensLeft: -1 });
  expect(permitsLeft).toBe(0);
  await inventory.release(sale.id, 1, [first.id]);
  expect((await again()).decisions[0]?.outcome).toMatchObject({ kind: 'replayed', orderId: first.id });
  const { buckets0, buckets1 } = world.keys.sale(sale.id);
  expect(await world.redis.exists(buckets0, buckets1)).toBe(0);
});
