/** What of an order leaves the memory of the Redis that decided it: all but the buyer's bucket (docs/decisions.md). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let folder: string;
let server: PrivateServer;
let world: World;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-written-'));
  const distFolder = process.env.TEST_REDIS_DIST;
  server = await startPrivateRedis({
    folder,
    restart: false,
    config: ['enable-debug-command local'],
    ...(distFolder ? { distFolder } : {}),
  });
  world = await openWorld(inject('template'), server.url);
});
afterAll(async () => {
  await world.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('[I3] the append-only file brings back the order, its key and what its buyer holds, and no bucket', async () => {
  const { redis, keys } = world;
  const inventory = createInventory(world);
  const sale = await makeSale(world, { units: 5, perBuyerLimit: 2 });
  const order = { orderId: newOrderId(sale.id), buyerId: 'ann', quantity: 2, requestId: 'r1', idempotencyKey: 'key' };
  await inventory.reserve(sale.id, [order], -1, { capacity: 5, refillRate: 0.01 });
  const names = keys.sale(sale.id);
  expect(await redis.exists(names.buckets0, names.buckets1)).toBe(1);

  await redis.call('DEBUG', 'LOADAOF');

  expect(await redis.exists(names.buckets0, names.buckets1)).toBe(0);
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 5, available: 3, reserved: 2, sold: 0 });
  expect(await inventory.findReservation(sale.id, order.orderId)).toMatchObject({ buyerId: 'ann', quantity: 2 });
  expect(
    (await inventory.claimOrphans(sale.id, { ageMs: -1, pauseMs: 0 }, null)).orphans.map((orphan) => orphan.id),
  ).toEqual([order.orderId]);
  expect(await redis.hget(names.buyers, 'ann')).toBe('2');
  expect(await redis.hget(names.orderKeys, 'ann key')).toBe(`${order.orderId} 2`);
});
