/** How the sweep looks through the reservations of a sale: some at a time, and not again before one can have stranded. */
import { HAND_OVERS_MAX, SWEEP_LOOK } from '@flash-sale/core/limits.ts';
import { type AcceptedOrder, newOrderId } from '@flash-sale/core/orders/order.ts';
import { createOrderStore } from '@flash-sale/core/orders/order-store.ts';
import { createOrderQueue, type OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createSaleStore } from '@flash-sale/core/sales/sale-store.ts';
import { createStockGate, type StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { makeSale } from '@flash-sale/core/testing/sales.ts';
import { openWorld, type World } from '@flash-sale/core/testing/world.ts';
import { createSweep } from '@flash-sale/worker/recovery/sweep-strands.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';

let world: World;
let gate: StockGate;
let queue: OrderQueue;
/** Looks of the sweep: whether each began a pass. */
let looks: ('begins' | 'goes on')[];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
  queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  looks = [];
});
afterEach(async () => {
  await queue.close();
  await world.close();
});

function sweepOf(changed: Partial<Parameters<typeof createSweep>[0]>) {
  return createSweep({
    gate: {
      ...gate,
      claimStrands(saleId, settings, look) {
        looks.push(look ? 'goes on' : 'begins');
        return gate.claimStrands(saleId, settings, look);
      },
    },
    orders: createOrderStore(world.pool),
    sales: createSaleStore(world.pool),
    queue,
    giveUp: () => Promise.reject(new Error('nothing is to be given up here')),
    // At once.
    strandAgeMs: -1,
    log: world.log,
    ...changed,
  });
}

/** @returns ids of orders that nobody has handed over */
async function reserve(saleId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) {
    const batch = Array.from({ length: Math.min(100, count - ids.length) }, () => newOrderId(saleId));
    const orders = batch.map((orderId) => {
      return { orderId, buyerId: `buyer of ${orderId}`, quantity: 1, requestId: 'r', idempotencyKey: null };
    });
    await gate.reserve(saleId, orders, -1, { capacity: 0, refillRate: 1 });
    ids.push(...batch);
  }
  return ids;
}
const handedOver = async (): Promise<string[]> => [...((await queue.orderIdsUnderWay()) ?? [])].sort();

/** By the clock of this machine, which is Redis' as well. */
const reservedAgo = (saleId: string, id: string, ms: number): Promise<number> =>
  world.redis.hset(world.keys.sale(saleId).reservations, id, `1|${Date.now() - ms}|r|0|ann`);
const nextPass = async (saleId: string): Promise<number> =>
  Number(await world.redis.hget(world.keys.sale(saleId).gate, 'next_pass'));

test('[I3] a sale of which nothing can have stranded is looked through by no worker before something may have', async () => {
  const sale = await makeSale(world, { units: 10 });
  const [early, late] = (await reserve(sale.id, 2)) as [string, string];
  await reservedAgo(sale.id, early, 30_000);
  const settings = { strandAgeMs: 60_000, pauseMs: 3_600_000 };
  const [one, other] = [sweepOf(settings), sweepOf(settings)];
  await one.runOnce();
  expect(await nextPass(sale.id)).toBeGreaterThan(Date.now() + 20_000);
  expect(await nextPass(sale.id)).toBeLessThanOrEqual(Date.now() + 30_000);
  await reservedAgo(sale.id, early, 60_001);
  await one.runOnce();
  await other.runOnce();
  expect(await handedOver()).toEqual([]);
  // As if the time had come.
  await world.redis.hset(world.keys.sale(sale.id).gate, 'next_pass', Date.now() - 1);
  await other.runOnce();
  expect(await handedOver()).toEqual([early]);
  // The next one is that of the order which waits for longest now.
  const of = await gate.findReservation(sale.id, late);
  expect(await nextPass(sale.id)).toBe((of as AcceptedOrder).reservedAt + 60_000);
});

test('[I3] after the longest pause a sale is looked through in any case: an order of an earlier time may have come', async () => {
  const sale = await makeSale(world, { units: 10 });
  await reserve(sale.id, 1);
  const begunAt = Date.now();
  await sweepOf({ strandAgeMs: 60_000, pauseMs: 10_000 }).runOnce();
  expect(await nextPass(sale.id)).toBeGreaterThanOrEqual(begunAt + 10_000);
  expect(await nextPass(sale.id)).toBeLessThanOrEqual(Date.now() + 10_000);
});

test('[I3] the strands of a large sale are handed over in several turns, each where the one before has stopped', async () => {
  const count = 6 * SWEEP_LOOK;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  const sweep = sweepOf({ turnMax: 2 * SWEEP_LOOK });
  await sweep.runOnce();
  const first = await handedOver();
  expect(first.length).toBeGreaterThanOrEqual(2 * SWEEP_LOOK);
  expect(first.length).toBeLessThan(count);
  for (let turn = 0; turn < 4; turn++) await sweep.runOnce();
  expect(await handedOver()).toEqual([...ids].sort());
  expect(looks.slice(0, 4)).toEqual(['begins', 'goes on', 'goes on', 'goes on']);
});

test('[I3] a pass that has begun goes on, also where its sale has been over for hours', async () => {
  const sale = await makeSale(world, { units: 6 * SWEEP_LOOK });
  const ids = await reserve(sale.id, 6 * SWEEP_LOOK);
  const sales = createSaleStore(world.pool);
  const sweep = sweepOf({ turnMax: 2 * SWEEP_LOOK, sales: { listIds: sales.listIds, listCurrent: async () => [] } });
  for (let turn = 0; turn < 4; turn++) await sweep.runOnce();
  expect(await handedOver()).toEqual([...ids].sort());
});

test('[I3] orders that cannot be brought to their end keep none behind them from theirs', async () => {
  const count = 6 * SWEEP_LOOK;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  // Handed over too often, so that they are given up; and that fails for each.
  const worn = ids.filter((_, i) => i % (SWEEP_LOOK / 4) === 0);
  for (const id of worn) await world.redis.hset(world.keys.sale(sale.id).handOvers, id, HAND_OVERS_MAX);
  await expect(sweepOf({ giveUp: () => Promise.reject(new Error('cannot be written')) }).runOnce()).rejects.toThrow(
    'cannot be written',
  );
  expect(await handedOver()).toEqual(ids.filter((id) => !worn.includes(id)).sort());
});

test('[I3] after a fault of a part the pass goes on, and what was claimed before comes again after as long', async () => {
  const sale = await makeSale(world, { units: 4 * SWEEP_LOOK });
  const ids = await reserve(sale.id, 4 * SWEEP_LOOK);
  const orders = createOrderStore(world.pool);
  let isAway = true;
  const away = () => Promise.reject(Object.assign(new Error('away'), { code: 'ECONNREFUSED' }));
  const sweep = sweepOf({
    orders: { ...orders, verdictsOf: (orderIds) => (isAway ? away() : orders.verdictsOf(orderIds)) },
  });
  await expect(sweep.runOnce()).rejects.toThrow('away');
  isAway = false;
  await sweep.runOnce();
  expect(looks.slice(0, 2)).toEqual(['begins', 'goes on']);
  await world.redis.hdel(world.keys.sale(sale.id).gate, 'next_pass');
  await sweep.runOnce();
  expect(await handedOver()).toEqual([...ids].sort());
});

test('[I3] while the queue is too long to be looked through, the gate follows the ledger all the same', async () => {
  const count = 4 * SWEEP_LOOK;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  const orders = createOrderStore(world.pool);
  const batch = await Promise.all(ids.map((id) => gate.findReservation(sale.id, id)));
  await orders.confirm({ saleId: sale.id, epoch: 1, orders: batch.slice(0, -1) as AcceptedOrder[] }, gate.adopt);
  await sweepOf({ queue: { add: queue.add, orderIdsUnderWay: () => Promise.resolve(null) } }).runOnce();
  expect((await gate.read(sale.id)).numbers).toEqual({ allotment: count, available: 0, reserved: 1, sold: count - 1 });
  expect(await handedOver()).toEqual([]);
});

test('[I11] a gate that is closed is asked again in the next turn', async () => {
  const sale = await makeSale(world, { units: 10 });
  const ids = await reserve(sale.id, 1);
  const { gate: key } = world.keys.sale(sale.id);
  const life = (await world.redis.hget(key, 'run_id')) as string;
  await world.redis.hset(key, 'run_id', '');
  const sweep = sweepOf({});
  await sweep.runOnce();
  await world.redis.hset(key, 'run_id', life);
  await sweep.runOnce();
  expect(await handedOver()).toEqual(ids);
});
