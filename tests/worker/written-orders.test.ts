/** What the append-only file has of an order: all but the buyer's bucket (docs/decisions.md). */
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { expect, test } from 'vitest';
import { useOwnRedis } from '../support/fixtures.ts';
import { makeSale, orderRequest } from '../support/sales.ts';

const world = useOwnRedis('enable-debug-command local');

test('[I3] the append-only file restores the order, its key and what its buyer holds, and no bucket', async () => {
  const { redis, keys } = world;
  const inventory = createInventory(world);
  const sale = await makeSale(world, { units: 5, perBuyerLimit: 2 });
  const order = { ...orderRequest(sale.id, 'ann', 2), idempotencyKey: 'key' };
  await inventory.reserve(sale.id, [order], -1, { capacity: 5, refillRate: 0.01 });
  const names = keys.sale(sale.id);
  expect(await redis.exists(names.buckets0, names.buckets1)).toBe(1);

  await redis.call('DEBUG', 'LOADAOF');

  expect(await redis.exists(names.buckets0, names.buckets1)).toBe(0);
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 5, available: 3, reserved: 2, sold: 0 });
  expect(await inventory.findReservation(sale.id, order.id)).toMatchObject({ buyerId: 'ann', quantity: 2 });
  expect(
    (await inventory.claimOrphans(sale.id, { ageMs: -1, pauseMs: 0 }, null)).orphans.map((orphan) => orphan.id),
  ).toEqual([order.id]);
  expect(await redis.hget(names.buyers, 'ann')).toBe('2');
  expect(await redis.hget(names.orderKeys, 'ann key')).toBe(`${order.id} 2`);
});
