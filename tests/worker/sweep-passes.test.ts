/** How the sweep looks through the reservations of a sale: some at a time, and not again before one can have stranded. */
import { SWEEP_LOOK } from '@flash-sale/core/limits.ts';
import { newOrderId } from '@flash-sale/core/orders/order.ts';
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
/** Cursors that the sweep has asked with. */
let asked: string[];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
  queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  asked = [];
});
afterEach(async () => {
  await queue.close();
  await world.close();
});

function sweepOf(strandAgeMs: number, orders = createOrderStore(world.pool)) {
  return createSweep({
    gate: {
      ...gate,
      claimStrands(saleId, ageMs, cursor) {
        asked.push(cursor);
        return gate.claimStrands(saleId, ageMs, cursor);
      },
    },
    orders,
    sales: createSaleStore(world.pool),
    queue,
    giveUp: () => Promise.reject(new Error('nothing is to be given up here')),
    strandAgeMs,
    log: world.log,
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
const pass = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('[I3] a sale of which nothing can have stranded is not looked through again before something may have', async () => {
  const sale = await makeSale(world, { units: 10 });
  const early = await reserve(sale.id, 1);
  const sweep = sweepOf(800);
  for (let turn = 0; turn < 5; turn++) await sweep.runOnce();
  expect(asked).toEqual(['0']);
  await pass(400);
  const late = await reserve(sale.id, 2);
  await sweep.runOnce();
  expect(asked).toEqual(['0']);
  await pass(450);
  await sweep.runOnce();
  expect(await handedOver()).toEqual(early);
  await pass(450);
  await sweep.runOnce();
  expect(await handedOver()).toEqual([...early, ...late].sort());
  expect(asked).toEqual(['0', '0', '0']);
});

test('[I3] the strands of a large sale are all handed over, some at a time', async () => {
  const count = 3 * SWEEP_LOOK;
  const sale = await makeSale(world, { units: count });
  const ids = await reserve(sale.id, count);
  await sweepOf(1).runOnce();
  expect(await handedOver()).toEqual([...ids].sort());
  expect(asked.length).toBeGreaterThan(2);
  expect(asked.filter((cursor) => cursor === '0')).toHaveLength(1);
});

test('[I3] after a fault the next turn begins anew, and nothing is left out', async () => {
  const sale = await makeSale(world, { units: 2 * SWEEP_LOOK });
  const ids = await reserve(sale.id, 2 * SWEEP_LOOK);
  const orders = createOrderStore(world.pool);
  let isAway = true;
  const sweep = sweepOf(300, {
    ...orders,
    verdictsOf: (orderIds) => (isAway ? Promise.reject(new Error('away')) : orders.verdictsOf(orderIds)),
  });
  await pass(310);
  await expect(sweep.runOnce()).rejects.toThrow('away');
  isAway = false;
  // Those that were claimed before the fault are claimed again after as long.
  await sweep.runOnce();
  expect(asked.slice(0, 2)).toEqual(['0', '0']);
  await pass(310);
  await sweep.runOnce();
  expect(await handedOver()).toEqual([...ids].sort());
});

test('[I11] a gate that is closed is asked again in the next turn', async () => {
  const sale = await makeSale(world, { units: 10 });
  const ids = await reserve(sale.id, 1);
  const { gate: key } = world.keys.sale(sale.id);
  const life = (await world.redis.hget(key, 'run_id')) as string;
  await world.redis.hset(key, 'run_id', '');
  const sweep = sweepOf(1);
  await sweep.runOnce();
  await world.redis.hset(key, 'run_id', life);
  await pass(5);
  await sweep.runOnce();
  expect(await handedOver()).toEqual(ids);
});
