/**
 * A worker freezes between reading the ledger and readmitting an order. PostgreSQL ends its transaction, another worker
 * finishes the order, and then the call to the inventory arrives.
 */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { connectPostgres, type Pool } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { type WorkerSteps, workerSteps } from '../support/worker-steps.ts';
import { openWorld, type World } from '../support/world.ts';

/** Milliseconds that PostgreSQL lets a transaction stand still. */
const IDLE_MS = 200;

let world: World;
let steps: WorkerSteps;
let inventory: WorkerSteps['inventory'];
let pool: Pool;
let sale: Sale;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  steps = workerSteps(world);
  inventory = steps.inventory;
  pool = connectPostgres({ url: world.databaseUrl, size: 2, timeoutMs: IDLE_MS, name: 'frozen', log: world.log });
});
beforeEach(async () => {
  sale = await makeSale(world, { units: 10 });
});
afterAll(async () => {
  await pool.end();
  await world.close();
});

const numbers = () => steps.numbers(sale.id);

async function accepted(quantity: number): Promise<OrderBatch> {
  const { id } = await steps.order(sale.id, { quantity });
  return steps.batchOf(sale.id, id);
}

/** @param lost what Redis loses of the sale; nothing: it is another instance */
async function rebuildInventory(...lost: ('inventory' | 'reservations')[]): Promise<void> {
  if (lost.length > 0) await steps.lose(sale.id, ...lost);
  else await steps.otherInstance(sale.id);
  await steps.watchOnce();
}

/** A worker that has looked into the ledger, found nothing, and stands still. */
async function standStill(batch: OrderBatch) {
  let goOn = (): void => {};
  let asked = (): void => {};
  let question: Promise<unknown> = Promise.resolve();
  const stands = new Promise<void>((resolve) => (asked = resolve));
  const frozen = createOrderStore(pool).confirm(batch, async (missing) => {
    asked();
    await new Promise<void>((resolve) => (goOn = resolve));
    const answered = inventory.readmit(missing);
    question = answered;
    return answered;
  });
  frozen.catch(() => {});
  await stands;
  return {
    /** @returns the inventory's answer to the question that comes late */
    async late(): Promise<unknown> {
      goOn();
      await expect(frozen, 'its lock on the row is lost').rejects.toThrow();
      return question;
    },
  };
}

test('[I1] [I11] an order that was readmitted and committed meanwhile is not readmitted again, and counts once', async () => {
  const batch = await accepted(4);
  await rebuildInventory('inventory', 'reservations');
  const frozen = await standStill(batch);
  await steps.confirm(batch);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
  // The job is taken up again.
  await steps.confirm(batch);
  expect(await steps.outcomeOf(batch.orders[0]?.id as string)).toMatchObject({ status: 'confirmed' });
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] an order that the new inventory had kept and that was committed meanwhile is not readmitted, and counts once', async () => {
  const batch = await accepted(4);
  await rebuildInventory();
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 4, sold: 0 });
  const frozen = await standStill(batch);
  // As the reaper redelivers it, in the epoch of the inventory: nothing is to be readmitted.
  await steps.confirm({ ...batch, epoch: 2 });
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] an order that was known to the new inventory under another epoch and committed meanwhile counts once', async () => {
  const batch = { ...(await accepted(4)), epoch: 0 };
  const frozen = await standStill(batch);
  await steps.confirm(batch);
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] a call from before another rebuild has an older epoch than the inventory, which counts the order as sold', async () => {
  const batch = await accepted(4);
  await rebuildInventory('inventory', 'reservations');
  const frozen = await standStill(batch);
  await steps.confirm(batch);
  await rebuildInventory('inventory');
  expect(await world.redis.exists(world.keys.sale(sale.id).earlierOrders), 'the new inventory had none').toBe(0);
  await expect(frozen.late()).rejects.toThrow(InventoryRecoveringError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I11] a call from before the first rebuild is refused, also when it commits', async () => {
  const batch = await accepted(4);
  await steps.orders.confirm(batch, inventory.readmit);
  await rebuildInventory('inventory', 'reservations');
  await expect(inventory.readmit(batch)).rejects.toThrow(InventoryRecoveringError);
  expect(await inventory.commit(sale.id, 1, [batch.orders[0]?.id as string])).toBe(0);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I5] an order that was readmitted and rejected meanwhile is not readmitted again: its units were released once', async () => {
  const batch = await accepted(4);
  await rebuildInventory('inventory', 'reservations');
  const frozen = await standStill(batch);
  await inventory.readmit({ ...batch, epoch: 2 });
  await steps.orders.reject(sale.id, batch.orders, 'UNCONFIRMABLE');
  await inventory.release(sale.id, 2, [batch.orders[0]?.id as string]);
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
});
