/** The worker's metrics of the whole system, also while a dependency is unavailable. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOpenReservations } from '@flash-sale/core/inventory/open-reservations.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { createSystemReader } from '@flash-sale/worker/metrics/read-system.ts';
import { registerSystemMetrics } from '@flash-sale/worker/metrics/system-metrics.ts';
import { createClosedInventories } from '@flash-sale/worker/recovery/closed-inventories.ts';
import { expect, test, vi } from 'vitest';
import { useWorldPerTest } from '../support/fixtures.ts';
import { makeSale, reserveOne } from '../support/sales.ts';

const world = useWorldPerTest();

type Stores = Parameters<typeof createSystemReader>[0];

function createReader(changed: Partial<Stores> = {}) {
  return createSystemReader({
    sales: createSaleStore(world.pool),
    epochs: createEpochStore(world.pool),
    inventory: createInventory(world),
    reservations: createOpenReservations(world),
    queue: createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix }),
    heartbeat: createHeartbeat(world),
    closed: createClosedInventories(),
    ...changed,
  });
}

/** Lines of a scrape that start with one of the names. */
async function scrape(read: ReturnType<typeof createReader>, ...names: string[]): Promise<string[]> {
  const metrics = createMetrics();
  registerSystemMetrics(metrics, read);
  const server = await metrics.listen({ host: '127.0.0.1', port: 0 });
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  server.close();
  return text.split('\n').filter((line) => names.some((name) => line.startsWith(name)));
}

test('units by inventory and ledger, reservations and their age, queue', async () => {
  const sale = await makeSale(world, { units: 10 });
  const inventory = createInventory(world);
  await reserveOne(inventory, sale.id, newOrderId(sale.id), { quantity: 3 });
  const orphan = newOrderId(sale.id);
  await reserveOne(inventory, sale.id, orphan);
  await inventory.countRedeliveries(sale.id, [orphan]);
  const snapshot = await createReader()();
  expect(snapshot).toMatchObject({
    up: { redis: true, postgres: true },
    workerAlive: false,
    queue: { jobs: { waiting: 0, active: 0 }, oldestS: 0 },
    sales: [
      {
        id: sale.id,
        epoch: 1,
        ledger: { allotment: 10, sold: 0 },
        closedBeforeS: 0,
        redis: {
          units: { allotment: 10, available: 6, reserved: 4, sold: 0 },
          closedS: 0,
          reservations: 2,
          redelivered: 1,
        },
      },
    ],
  });
  expect(snapshot.sales[0]?.redis?.oldestReservationS).toBeLessThan(10);
});

test('a lost inventory is reported as closed, without units', async () => {
  const sale = await makeSale(world);
  await world.redis.del(world.keys.sale(sale.id).inventory);
  const read = createReader();
  expect((await read()).sales).toMatchObject([{ redis: { units: null }, ledger: { sold: 0 } }]);
  expect(await scrape(read, 'flash_sale_inventory_units', 'flash_sale_ledger_units')).toEqual([
    `flash_sale_ledger_units{sale="${sale.id}",state="allotment"} 10`,
    `flash_sale_ledger_units{sale="${sale.id}",state="sold"} 0`,
  ]);
});

test('a silent Redis is reported as down within 5 s, and is not asked again before it has answered', async () => {
  const sale = await makeSale(world);
  const readLoad = vi.fn(() => new Promise<never>(() => {}));
  const read = createReader({ queue: { readLoad } });
  const begun = performance.now();
  const first = await read();
  const second = await read();
  expect(performance.now() - begun).toBeLessThan(5_000);
  expect(second).not.toBe(first);
  expect(readLoad).toHaveBeenCalledTimes(1);
  expect(second).toMatchObject({
    up: { redis: false, postgres: true },
    queue: null,
    sales: [{ id: sale.id, redis: null, ledger: { allotment: 10 } }],
  });
  // Unknown is no sample, never 0: an alert on 0 would fire.
  const names = ['flash_sale_worker_alive', 'flash_sale_queue', 'flash_sale_reservations', 'flash_sale_dependency_up'];
  expect(await scrape(read, ...names)).toEqual([
    'flash_sale_dependency_up{dependency="redis"} 0',
    'flash_sale_dependency_up{dependency="postgres"} 1',
  ]);
});

test('while PostgreSQL is unavailable, the sales that it listed last are reported', async () => {
  const sale = await makeSale(world);
  const sales = createSaleStore(world.pool);
  let unavailable = false;
  const read = createReader({
    sales: {
      ...sales,
      list: (filter) => (unavailable ? Promise.reject(new Error('unavailable')) : sales.list(filter)),
    },
  });
  const first = await read();
  expect(await read()).toBe(first);
  unavailable = true;
  await vi.waitFor(async () => expect((await read()).up.postgres).toBe(false), { timeout: 5_000, interval: 100 });
  expect(await read()).toMatchObject({
    sales: [{ id: sale.id, ledger: null, redis: { units: { available: 10 } } }],
  });
});
