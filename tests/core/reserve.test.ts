/**
 * lua/reserve.lua with parallel calls, large batches and Redis' own clock. Single decisions are in
 * tests/model.
 */

import { createInventory, type Inventory, type OrderRequest } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { kindsOf, makeSale, orderRequest, outcomesOf } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;
const UNLIMITED = { capacity: 0, refillRate: 1 };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
});
afterAll(() => world.close());

const reserve = (saleId: string, orders: OrderRequest[], permits = -1, bucket = UNLIMITED) =>
  outcomesOf(inventory.reserve(saleId, orders, permits, bucket));

describe('stock', () => {
  test.each([1, 2, 10_000])('[I2] [trap 2] %i units: exactly that many are sold, in any batches', async (units) => {
    const sale = await makeSale(world, { units });
    const wanted = units + 50;
    const batches: Promise<ReserveOutcome[]>[] = [];
    for (let sent = 0; sent < wanted; sent += 100) {
      const size = Math.min(100, wanted - sent);
      batches.push(
        reserve(
          sale.id,
          Array.from({ length: size }, () => orderRequest(sale.id)),
        ),
      );
    }
    const all = kindsOf((await Promise.all(batches)).flat());
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
    for (let i = 0; i < 100; i++)
      await reserve(
        sale.id,
        Array.from({ length: 100 }, () => orderRequest(sale.id)),
      );
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 0, reserved: 1 });
    await inventory.release(sale.id, 1, [first.orderId]);
    expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id), orderRequest(sale.id)]))).toEqual([
      'reserved',
      'sold_out',
    ]);
  });

  test('[trap 5] scripts that Redis forgot are sent again', async () => {
    const sale = await makeSale(world);
    await reserve(sale.id, [orderRequest(sale.id)]);
    await world.redis.script('FLUSH');
    expect(kindsOf(await reserve(sale.id, [orderRequest(sale.id)]))).toEqual(['reserved']);
  });

  test('[trap 6] a sale that the inventory does not know is never made up', async () => {
    const stranger = orderRequest('nobody-made-this', 'ann');
    expect(kindsOf(await reserve('nobody-made-this', [stranger], -1, { capacity: 10, refillRate: 1 }))).toEqual([
      'unknown_sale',
    ]);
    expect(await world.redis.keys(`${world.prefix}:{nobody-made-this}*`)).toEqual([]);
  });
});

describe('[I6] the cap of a buyer', () => {
  test('[trap 1] 100 parallel posts of one buyer with cap 1 take exactly one unit', async () => {
    const sale = await makeSale(world, { units: 50, perBuyerLimit: 1 });
    const all = await Promise.all(Array.from({ length: 100 }, () => reserve(sale.id, [orderRequest(sale.id)])));
    expect(kindsOf(all.flat()).filter((kind) => kind === 'reserved')).toHaveLength(1);
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 49, reserved: 1 });
  });
});

describe('[I4] an idempotency key', () => {
  const keyed = (saleId: string, buyerId: string, idempotencyKey: string, quantity = 1): OrderRequest => ({
    ...orderRequest(saleId, buyerId, quantity),
    idempotencyKey,
  });

  test('[trap 28] 50 parallel orders with one key are one order, in one batch and in many', async () => {
    const sale = await makeSale(world, { units: 10 });
    const all = await Promise.all(
      Array.from({ length: 10 }, () =>
        reserve(
          sale.id,
          Array.from({ length: 5 }, () => keyed(sale.id, 'ann', 'k')),
        ),
      ),
    );
    expect(kindsOf(all.flat()).filter((kind) => kind === 'reserved')).toHaveLength(1);
    const ids = new Set(all.flat().flatMap((outcome) => (outcome.kind === 'replayed' ? [outcome.orderId] : [])));
    expect(ids.size).toBe(1);
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 9, reserved: 1 });
  });

  test('[trap 26] gets its order again when all is sold, over, limited and released', async () => {
    const sale = await makeSale(world, { units: 1, perBuyerLimit: 1 });
    const first = keyed(sale.id, 'ann', 'k');
    await reserve(sale.id, [first]);
    await inventory.configure({ ...sale, paused: true, endsAt: Date.now() - 1, version: 9 });
    const again = () => inventory.reserve(sale.id, [keyed(sale.id, 'ann', 'k')], 0, { capacity: 1, refillRate: 1 });
    const { decisions, permitsLeft } = await again();
    expect(decisions[0]).toMatchObject({ outcome: { kind: 'replayed', orderId: first.orderId }, tokensLeft: -1 });
    expect(permitsLeft).toBe(0);
    await inventory.release(sale.id, 1, [first.orderId]);
    expect((await again()).decisions[0]?.outcome).toMatchObject({ kind: 'replayed', orderId: first.orderId });
    const { buckets0, buckets1 } = world.keys.sale(sale.id);
    expect(await world.redis.exists(buckets0, buckets1)).toBe(0);
  });
});

describe('the window of a sale, by the clock of Redis', () => {
  test('before it, after it, and while it is paused', async () => {
    const now = Date.now();
    const early = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
    const late = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 60_000 });
    const paused = await makeSale(world);
    await inventory.configure({ ...paused, paused: true, version: paused.version + 1 });
    const [notOpen] = await reserve(early.id, [orderRequest(early.id)]);
    expect(notOpen).toMatchObject({ kind: 'not_open' });
    expect((notOpen as { waitMs: number }).waitMs).toBeGreaterThan(50_000);
    expect(kindsOf(await reserve(late.id, [orderRequest(late.id)]))).toEqual(['ended']);
    expect(kindsOf(await reserve(paused.id, [orderRequest(paused.id)]))).toEqual(['paused']);
  });
});
