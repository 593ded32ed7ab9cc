/** Nothing that a finished order leaves behind grows without bound. */

import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale, orderRequest } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const ORDERS = 300;

const world = useWorld();

test('[trap 40] the last 200 completed jobs are kept; an order leaves one log line and no record in Redis', async () => {
  const sale = await makeSale(world, { units: ORDERS });
  const inventory = createInventory(world);
  const requests = Array.from({ length: ORDERS }, (_, i) => orderRequest(sale.id, `buyer-${i}`));
  for (let at = 0; at < ORDERS; at += 100)
    await inventory.reserve(sale.id, requests.slice(at, at + 100), -1, { capacity: 0, refillRate: 1 });
  const queue = createOrderQueue({
    redis: world.redis.duplicate({ maxRetriesPerRequest: null }),
    prefix: world.keys.queuePrefix,
  });
  const orders = requests.map((request) => ({ ...request, reservedAt: Date.now() }));
  await queue.add([{ saleId: sale.id, epoch: 1, orders }], 1);
  const worker = await startWorkerHere(world, { ORPHAN_AGE_MS: 60_000 });
  await eventually('all are sold', 20_000, async () => (await inventory.read(sale.id)).numbers?.sold === ORDERS);
  await eventually('every job is done', 5_000, async () => {
    const { wait, active } = await queue.bullQueue.getJobCounts('wait', 'active');
    return wait === 0 && active === 0;
  });
  await worker.stop();
  expect(await queue.bullQueue.getCompletedCount()).toBeLessThanOrEqual(200);
  await queue.close();
  const aboutOrders = world.lines.filter((line) => line.order_id !== undefined);
  expect(aboutOrders.length).toBe(ORDERS);
  const keys = world.keys.sale(sale.id);
  expect(await world.redis.exists(keys.reservations, keys.claims, keys.redeliveries, keys.buyers, keys.orderKeys)).toBe(
    0,
  );
}, 40_000);
