/** Numbers of the whole system for the metrics: what is true of a sale, and what is left while a part is away. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrdersUnderWay } from '@flash-sale/core/inventory/open-reservations.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { readPostgresLoad } from '@flash-sale/core/ledger/read-load.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { readRedisLoad } from '@flash-sale/core/runtime/redis/read-load.ts';
import { createSystemNumbers } from '@flash-sale/worker/metrics/system-metrics.ts';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { makeSale, reserveOne } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
beforeEach(async () => {
  world = await openWorld(inject('template'));
});
afterEach(() => world.close());

type Parts = Parameters<typeof createSystemNumbers>[0];

function createReader(changed: Partial<Parts> = {}) {
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  return createSystemNumbers({
    sales: createSaleStore(world.pool),
    epochs: createEpochStore(world.pool),
    postgresLoad: () => readPostgresLoad(world.pool),
    inventory: createInventory(world),
    underWay: createOrdersUnderWay(world),
    queue,
    sign: createHeartbeat(world),
    redisLoad: () => readRedisLoad(world.redis),
    ...changed,
  });
}

test('units by inventory and ledger, orders under way and their age, queue, servers', async () => {
  const sale = await makeSale(world, { units: 10 });
  const inventory = createInventory(world);
  await reserveOne(inventory, sale.id, newOrderId(sale.id), { quantity: 3 });
  const orphaned = newOrderId(sale.id);
  await reserveOne(inventory, sale.id, orphaned);
  await inventory.countRedeliveries(sale.id, [orphaned]);
  const numbers = await createReader()();
  expect(numbers).toMatchObject({
    up: { redis: true, postgres: true },
    workerAlive: false,
    queue: { jobs: { waiting: 0, active: 0 }, oldestS: 0 },
    sales: [
      {
        id: sale.id,
        epoch: 1,
        ledger: { allotment: 10, sold: 0 },
        inventory: { allotment: 10, available: 6, reserved: 4, sold: 0 },
        closedS: 0,
        closedBeforeS: 0,
        underWay: { orders: 2, redelivered: 1 },
      },
    ],
  });
  expect(numbers.sales[0]?.underWay?.oldestS).toBeLessThan(10);
  expect(numbers.redis).toHaveLength(1);
  expect(numbers.redis[0]).toMatchObject({ mayEvict: false, evictedKeys: 0 });
  expect(numbers.redis[0]?.memoryBytes).toBeLessThan(numbers.redis[0]?.memoryLimitBytes as number);
  expect(numbers.postgres?.connections).toBeGreaterThan(0);
  expect(numbers.postgres?.connectionsMax).toBeGreaterThan(numbers.postgres?.connections as number);
});

test('an inventory that was lost is closed, and its units are not told', async () => {
  const sale = await makeSale(world);
  await world.redis.del(world.keys.sale(sale.id).inventory);
  const { sales } = await createReader()();
  expect(sales).toMatchObject([{ inventory: 'closed', ledger: { sold: 0 } }]);
});

test('a Redis that is silent is told to be down in time, and is not asked again before it has answered', async () => {
  const sale = await makeSale(world);
  const redisLoad = vi.fn(() => new Promise<never>(() => {}));
  const read = createReader({ redisLoad });
  const begun = performance.now();
  const first = await read();
  const second = await read();
  expect(performance.now() - begun).toBeLessThan(5_000);
  expect(second).not.toBe(first);
  expect(redisLoad).toHaveBeenCalledTimes(1);
  expect(second).toMatchObject({
    up: { redis: false, postgres: true },
    queue: null,
    redis: [],
    sales: [{ id: sale.id, inventory: 'unknown', underWay: null, ledger: { allotment: 10 } }],
  });
});

test('while the ledger is away the sales that it named last go on', async () => {
  const sale = await makeSale(world);
  const sales = createSaleStore(world.pool);
  let away = false;
  const read = createReader({
    sales: { list: (filter) => (away ? Promise.reject(new Error('away')) : sales.list(filter)) },
  });
  const first = await read();
  expect(await read()).toBe(first);
  away = true;
  await vi.waitFor(async () => expect((await read()).up.postgres).toBe(false), { timeout: 5_000, interval: 100 });
  expect(await read()).toMatchObject({
    postgres: null,
    sales: [{ id: sale.id, ledger: null, inventory: { available: 10 } }],
  });
});
