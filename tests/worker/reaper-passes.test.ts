/** How the reaper passes over a sale's reservations: in pages, when one can be an orphan. */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory, REAPER_SCAN_COUNT } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue, encodeJob, type OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createReaper, REDELIVERIES_MAX } from '@flash-sale/worker/recovery/reaper.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { useWorldPerTest } from '../support/fixtures.ts';
import { makeSale, orderRequest, reservationText } from '../support/sales.ts';

const world = useWorldPerTest();
let inventory: Inventory;
let queue: OrderQueue;
/** Whether each page that the reaper read began a pass. */
let looks: ('begins' | 'goes on')[];

beforeEach(() => {
  inventory = createInventory(world);
  queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  looks = [];
});
afterEach(() => queue.close());

function reaperOf(changed: Partial<Parameters<typeof createReaper>[0]>) {
  return createReaper({
    inventory: {
      ...inventory,
      claimOrphans(saleId, settings, look) {
        looks.push(look ? 'goes on' : 'begins');
        return inventory.claimOrphans(saleId, settings, look);
      },
    },
    orders: createOrderStore(world.pool),
    sales: createSaleStore(world.pool),
    queue,
    reject: () => Promise.reject(new Error('nothing is to be rejected here')),
    // At once.
    orphanAgeMs: -1,
    log: world.log,
    ...changed,
  });
}

/** @returns ids of orders that were not enqueued */
async function reserve(saleId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const orders = Array.from({ length: Math.min(100, count - ids.length) }, () => orderRequest(saleId));
    await inventory.reserve(saleId, orders, -1, { capacity: 0, refillRate: 1 });
    ids.push(...orders.map(({ id }) => id));
  }
  return ids;
}
const redelivered = async (): Promise<string[]> => [...((await queue.orderIdsInProgress()) ?? [])].sort();

/** By this machine's clock, which Redis shares. */
const reservedAgo = (saleId: string, id: string, ms: number): Promise<number> =>
  world.redis.hset(world.keys.sale(saleId).reservations, id, reservationText(Date.now() - ms));
const nextPass = async (saleId: string): Promise<number> =>
  Number(await world.redis.hget(world.keys.sale(saleId).inventory, 'next_pass'));

test('[I3] no worker starts a pass before a reservation can be an orphan', async () => {
  const sale = await makeSale(world, { units: 10 });
  const [early, late] = (await reserve(sale.id, 2)) as [string, string];
  await reservedAgo(sale.id, early, 30_000);
  const settings = { orphanAgeMs: 60_000, pauseMs: 3_600_000 };
  const [one, other] = [reaperOf(settings), reaperOf(settings)];
  await one.runOnce();
  expect(await nextPass(sale.id)).toBeGreaterThan(Date.now() + 20_000);
  expect(await nextPass(sale.id)).toBeLessThanOrEqual(Date.now() + 30_000);
  await reservedAgo(sale.id, early, 60_001);
  await one.runOnce();
  await other.runOnce();
  expect(await redelivered()).toEqual([]);
  // As if the time had come.
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'next_pass', Date.now() - 1);
  await other.runOnce();
  expect(await redelivered()).toEqual([early]);
  // The next pass is due when the order that now waits for longest may be an orphan.
  const of = await inventory.findReservation(sale.id, late);
  expect(await nextPass(sale.id)).toBe((of as AcceptedOrder).reservedAt + 60_000);
});

test('[I3] after the longest pause a pass starts in any case: an older order may have come', async () => {
  const sale = await makeSale(world, { units: 10 });
  await reserve(sale.id, 1);
  const begunAt = Date.now();
  await reaperOf({ orphanAgeMs: 60_000, pauseMs: 10_000 }).runOnce();
  expect(await nextPass(sale.id)).toBeGreaterThanOrEqual(begunAt + 10_000);
  expect(await nextPass(sale.id)).toBeLessThanOrEqual(Date.now() + 10_000);
});

test('[I3] the orphans of a large sale are enqueued in several runs, each continuing the one before', async () => {
  const count = 6 * REAPER_SCAN_COUNT;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  const reaper = reaperOf({ runMax: 2 * REAPER_SCAN_COUNT });
  await reaper.runOnce();
  const first = await redelivered();
  expect(first.length).toBeGreaterThanOrEqual(2 * REAPER_SCAN_COUNT);
  expect(first.length).toBeLessThan(count);
  for (let run = 0; run < 4; run++) await reaper.runOnce();
  expect(await redelivered()).toEqual([...ids].sort());
  expect(looks.slice(0, 4)).toEqual(['begins', 'goes on', 'goes on', 'goes on']);
});

test('[I3] a pass that has begun continues, even if its sale has been over for hours', async () => {
  const sale = await makeSale(world, { units: 6 * REAPER_SCAN_COUNT });
  const ids = await reserve(sale.id, 6 * REAPER_SCAN_COUNT);
  const reaper = reaperOf({ runMax: 2 * REAPER_SCAN_COUNT });
  await reaper.runOnce();
  await world.pool.query(`UPDATE sales SET starts_at = now() - interval '3 h', ends_at = now() - interval '2 h'`);
  for (let run = 0; run < 3; run++) await reaper.runOnce(false);
  expect(await redelivered()).toEqual([...ids].sort());
});

test('[I3] orders that cannot be rejected do not delay the orders behind them', async () => {
  const count = 6 * REAPER_SCAN_COUNT;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  // Redelivered too often, so that they are rejected; and that fails for each.
  const worn = ids.filter((_, i) => i % (REAPER_SCAN_COUNT / 4) === 0);
  for (const id of worn) await world.redis.hset(world.keys.sale(sale.id).redeliveries, id, REDELIVERIES_MAX);
  await expect(reaperOf({ reject: () => Promise.reject(new Error('cannot be written')) }).runOnce()).rejects.toThrow(
    'cannot be written',
  );
  expect(await redelivered()).toEqual(ids.filter((id) => !worn.includes(id)).sort());
});

test('[I3] after a fault of a dependency the pass continues, and earlier claims are repeated later', async () => {
  const sale = await makeSale(world, { units: 4 * REAPER_SCAN_COUNT });
  const ids = await reserve(sale.id, 4 * REAPER_SCAN_COUNT);
  const orders = createOrderStore(world.pool);
  let isDown = true;
  const down = () => Promise.reject(Object.assign(new Error('down'), { code: 'ECONNREFUSED' }));
  const reaper = reaperOf({
    orders: { ...orders, outcomesOf: (orderIds) => (isDown ? down() : orders.outcomesOf(orderIds)) },
  });
  await expect(reaper.runOnce()).rejects.toThrow('down');
  isDown = false;
  await reaper.runOnce();
  expect(looks.slice(0, 2)).toEqual(['begins', 'goes on']);
  await world.redis.hdel(world.keys.sale(sale.id).inventory, 'next_pass');
  await reaper.runOnce();
  expect(await redelivered()).toEqual([...ids].sort());
});

test('[I3] while the queue is too long to be read, outcomes of the ledger are still applied', async () => {
  const count = 4 * REAPER_SCAN_COUNT;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  const orders = createOrderStore(world.pool);
  const batch = await Promise.all(ids.map((id) => inventory.findReservation(sale.id, id)));
  await orders.confirm({ saleId: sale.id, epoch: 1, orders: batch.slice(0, -1) as AcceptedOrder[] }, inventory.readmit);
  await reaperOf({ queue: { add: queue.add, orderIdsInProgress: () => Promise.resolve(null) } }).runOnce();
  expect((await inventory.read(sale.id)).numbers).toEqual({
    allotment: count,
    available: 0,
    reserved: 1,
    sold: count - 1,
  });
  expect(await redelivered()).toEqual([]);
});

test('[I3] the orders of a job that a clock set back has delayed for an hour are redelivered at once, no others', async () => {
  const sale = await makeSale(world, { units: 10 });
  const [ids, soon] = [await reserve(sale.id, 1), await reserve(sale.id, 1)];
  for (const [[id], delay] of [
    [ids, 3_600_000],
    [soon, 8_000],
  ] as const) {
    const order = (await inventory.findReservation(sale.id, id as string)) as AcceptedOrder;
    const batch = { saleId: sale.id, epoch: 1, orders: [order] };
    await queue.bullQueue.add('confirm-orders', encodeJob(batch), { delay });
  }
  expect(await redelivered()).toEqual(soon);
  expect(await queue.bullQueue.getJobCounts('waiting', 'delayed'), 'reading changes nothing').toEqual({
    waiting: 0,
    delayed: 2,
  });
  await reaperOf({}).runOnce();
  expect(await queue.bullQueue.getJobCounts('waiting', 'delayed')).toEqual({ waiting: 1, delayed: 2 });
  expect(await redelivered()).toEqual([...ids, ...soon].sort());
});

test('[I11] a closed inventory is visited again in the next run', async () => {
  const sale = await makeSale(world, { units: 10 });
  const ids = await reserve(sale.id, 1);
  const { inventory: key } = world.keys.sale(sale.id);
  const life = (await world.redis.hget(key, 'instance_id')) as string;
  await world.redis.hset(key, 'instance_id', '');
  const reaper = reaperOf({});
  await reaper.runOnce();
  await world.redis.hset(key, 'instance_id', life);
  await reaper.runOnce();
  expect(await redelivered()).toEqual(ids);
});
