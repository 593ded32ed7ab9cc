/**
 * A worker that stands still between its look into the ledger and its question to the gate. PostgreSQL takes the sale's row away from it, another
 * worker brings the order to its end, and then the question comes.
 */
import { newOrderId, type OrderBatch } from '@flash-sale/core/orders/order.ts';
import { createOrderStore } from '@flash-sale/core/orders/order-store.ts';
import { connectPostgres, type Pool } from '@flash-sale/core/postgres/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/sales/epoch-store.ts';
import type { Sale } from '@flash-sale/core/sales/sale.ts';
import { createSaleStore } from '@flash-sale/core/sales/sale-store.ts';
import { createGateRebuild } from '@flash-sale/core/stock/gate-rebuild.ts';
import { GateRecoveringError, OrderEndedError } from '@flash-sale/core/stock/gate-words.ts';
import { createStockGate, type StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { makeSale, reserveOne } from '@flash-sale/core/testing/sales.ts';
import { openWorld, type World } from '@flash-sale/core/testing/world.ts';
import { confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { createGateWatch } from '@flash-sale/worker/recovery/rebuild-gates.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';

/** Milliseconds that PostgreSQL lets a transaction stand still. */
const IDLE_MS = 200;

let world: World;
let gate: StockGate;
let pool: Pool;
let sale: Sale;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
  pool = connectPostgres({ url: world.databaseUrl, size: 2, timeoutMs: IDLE_MS, name: 'frozen', log: world.log });
  sale = await makeSale(world, { units: 10 });
});
afterEach(async () => {
  await pool.end();
  await world.close();
});

const numbers = async () => (await gate.read(sale.id)).numbers;

async function accepted(quantity: number): Promise<OrderBatch> {
  const id = newOrderId(sale.id);
  await reserveOne(gate, sale.id, id, { quantity });
  const order = await gate.findReservation(sale.id, id);
  if (!order || order === 'recovering') throw new Error('no reservation');
  return { saleId: sale.id, epoch: 1, orders: [order] };
}

/** @param lost what Redis loses of the sale; nothing: it lives another life */
async function remakeGate(lost: ('gate' | 'reservations')[] = []): Promise<void> {
  const keys = world.keys.sale(sale.id);
  if (lost.length > 0) await world.redis.del(...lost.map((name) => keys[name]));
  else await world.redis.hset(keys.gate, 'run_id', 'of another life');
  const [orders, sales] = [createOrderStore(world.pool), createSaleStore(world.pool)];
  const { rebuild, epochs } = { rebuild: createGateRebuild(world), epochs: createEpochStore(world.pool) };
  await createGateWatch({ gate, rebuild, epochs, orders, sales, log: world.log }).runOnce();
}

const confirm = (batch: OrderBatch): Promise<void> =>
  confirmOrders({ gate, orders: createOrderStore(world.pool), log: world.log }, batch);

/** A worker that has looked into the ledger, found nothing, and stands still. */
async function standStill(batch: OrderBatch) {
  let goOn = (): void => {};
  let asked = (): void => {};
  let question: Promise<unknown> = Promise.resolve();
  const stands = new Promise<void>((resolve) => (asked = resolve));
  const frozen = createOrderStore(pool).confirm(batch, async (missing) => {
    asked();
    await new Promise<void>((resolve) => (goOn = resolve));
    const answered = gate.adopt(missing);
    question = answered;
    return answered;
  });
  frozen.catch(() => {});
  await stands;
  return {
    /** @returns the gate's answer to the question that comes late */
    async late(): Promise<unknown> {
      goOn();
      await expect(frozen, 'the ledger has taken its row away').rejects.toThrow();
      return question;
    },
  };
}

const status = async ({ orders }: OrderBatch) =>
  (await world.pool.query('SELECT status FROM orders WHERE id = $1', [orders[0]?.id])).rows[0]?.status;

test('[I1] [I11] an order that was adopted and settled meanwhile is not adopted again, and counts once', async () => {
  const batch = await accepted(4);
  await remakeGate(['gate', 'reservations']);
  const frozen = await standStill(batch);
  await confirm(batch);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
  // The job is taken up again.
  await confirm(batch);
  expect(await status(batch)).toBe('confirmed');
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] an order that the new gate had kept and that was settled meanwhile is not adopted, and counts once', async () => {
  const batch = await accepted(4);
  await remakeGate();
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 4, sold: 0 });
  const frozen = await standStill(batch);
  // As the sweep hands it over again, in the epoch of the gate: nothing is to be adopted.
  await confirm({ ...batch, epoch: 2 });
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] an order that was known to the new gate under another epoch and settled meanwhile counts once', async () => {
  const batch = { ...(await accepted(4)), epoch: 0 };
  const frozen = await standStill(batch);
  await confirm(batch);
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] a question from before another rebuild is of an older epoch than the gate, which has counted the order as sold', async () => {
  const batch = await accepted(4);
  await remakeGate(['gate', 'reservations']);
  const frozen = await standStill(batch);
  await confirm(batch);
  await remakeGate(['gate']);
  expect(await world.redis.exists(world.keys.sale(sale.id).earlierOrders), 'the new gate had none').toBe(0);
  await expect(frozen.late()).rejects.toThrow(GateRecoveringError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I11] a question from before the first rebuild: whoever has read the epoch before it need not ask, and is refused as it settles', async () => {
  const batch = await accepted(4);
  await createOrderStore(world.pool).confirm(batch, gate.adopt);
  await remakeGate(['gate', 'reservations']);
  await expect(gate.adopt(batch)).rejects.toThrow(GateRecoveringError);
  expect(await gate.settle(sale.id, 1, [batch.orders[0]?.id as string])).toBe(0);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I5] an order that was adopted and given up meanwhile is not adopted again: its units went back once', async () => {
  const batch = await accepted(4);
  await remakeGate(['gate', 'reservations']);
  const frozen = await standStill(batch);
  await gate.adopt({ ...batch, epoch: 2 });
  await createOrderStore(world.pool).reject(sale.id, batch.orders, 'GAVE_UP');
  await gate.release(sale.id, 2, [batch.orders[0]?.id as string]);
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
});
