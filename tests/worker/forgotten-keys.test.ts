/**
 * Redis has forgotten an idempotency key whose order the ledger has, and gave it to a second order. However that one is rejected, and whoever
 * dies meanwhile: the key leads to the first one again before the second one's reservation is gone.
 */
import type { AcceptedOrder, OrderBatch } from '@flash-sale/core/orders/order.ts';
import { createOrderStore, type OrderStore } from '@flash-sale/core/orders/order-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createSaleStore } from '@flash-sale/core/sales/sale-store.ts';
import { createStockGate, type StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { makeSale, orderRequest, outcomesOf } from '@flash-sale/core/testing/sales.ts';
import { openWorld, type World } from '@flash-sale/core/testing/world.ts';
import { confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { giveUpOrders } from '@flash-sale/worker/orders/give-up-orders.ts';
import { createSweep } from '@flash-sale/worker/recovery/sweep-strands.ts';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';

const BUYER = 'ann';
const KEY = 'a key';

let world: World;
let gate: StockGate;
let orders: OrderStore;
let first: AcceptedOrder;
/** Under the same key, accepted and not yet decided. */
let second: OrderBatch;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
  orders = createOrderStore(world.pool);
});
afterAll(() => world.close());

beforeEach(async () => {
  const sale = await makeSale(world, { units: 10 });
  const before = await reserve(sale.id);
  [first] = before.orders as [AcceptedOrder];
  await confirmOrders({ gate, orders, log: world.log }, before);
  await world.redis.hdel(world.keys.sale(sale.id).orderKeys, `${BUYER} ${KEY}`);
  second = await reserve(sale.id);
});

/** He asks under his key. @returns what the gate says, and the id that a new order would have */
async function ask(saleId: string) {
  const request = { ...orderRequest(saleId, BUYER), idempotencyKey: KEY };
  const [outcome] = await outcomesOf(gate.reserve(saleId, [request], -1, { capacity: 0, refillRate: 1 }));
  return { outcome, id: request.orderId };
}

async function reserve(saleId: string): Promise<OrderBatch> {
  const { id } = await ask(saleId);
  const order = await gate.findReservation(saleId, id);
  if (!order || order === 'recovering') throw new Error('no reservation');
  return { saleId, epoch: 1, orders: [order] };
}

/** @returns to which order the key leads, and how many units are reserved */
async function seen(): Promise<{ leadsTo: string | undefined; reserved: number | undefined }> {
  const value = await world.redis.hget(world.keys.sale(second.saleId).orderKeys, `${BUYER} ${KEY}`);
  return { leadsTo: value?.split(' ')[0], reserved: (await gate.read(second.saleId)).numbers?.reserved };
}

const secondId = (): string => (second.orders[0] as AcceptedOrder).id;

const dies = async (): Promise<never> => {
  throw new Error('killed here');
};

async function sweep(): Promise<void> {
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  const sales = createSaleStore(world.pool);
  const giveUp = (batch: OrderBatch) => giveUpOrders({ gate, orders, log: world.log, count: () => {} }, batch);
  await createSweep({ gate, orders, sales, queue, giveUp, strandAgeMs: 0, log: world.log }).runOnce();
  await queue.close();
}

test('[I4] rejected as the second of its key', async () => {
  await confirmOrders({ gate, orders, log: world.log }, second);
  expect(await orders.verdictsOf([secondId()])).toMatchObject([{ status: 'rejected', reason: 'DUPLICATE_REQUEST' }]);
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
  expect((await ask(second.saleId)).outcome).toMatchObject({ word: 'replayed', orderId: first.id });
});

test('[I4] given up before the ledger could see whose key it is', async () => {
  await giveUpOrders({ gate, orders, log: world.log, count: () => {} }, second);
  expect(await orders.verdictsOf([secondId()])).toMatchObject([{ status: 'rejected', reason: 'GAVE_UP' }]);
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('[I4] the worker dies before the key leads back, and its job is gone: the sweep finds the reservation, and does both', async () => {
  const dying = { ...gate, pointKey: dies };
  await expect(confirmOrders({ gate: dying, orders, log: world.log }, second)).rejects.toThrow('killed here');
  expect(await seen()).toEqual({ leadsTo: secondId(), reserved: 1 });
  await sweep();
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('[I4] the worker dies before the reservation ends: the key leads back already', async () => {
  const dying = { ...gate, release: dies };
  await expect(confirmOrders({ gate: dying, orders, log: world.log }, second)).rejects.toThrow('killed here');
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 1 });
  await sweep();
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('a rejected order whose key has no confirmed one keeps its key', async () => {
  await world.pool.query(`DELETE FROM orders WHERE id = $1`, [first.id]);
  await giveUpOrders({ gate, orders, log: world.log, count: () => {} }, second);
  expect(await seen()).toEqual({ leadsTo: secondId(), reserved: 0 });
});
