/**
 * A worker freezes between reading the ledger and readmitting an order. PostgreSQL ends its
 * transaction, another worker ends the order, and then the call reaches the inventory.
 */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { connectPostgres, type Pool } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { useWorkerSteps } from '../support/worker-steps.ts';

/** ms for which PostgreSQL lets a transaction idle. */
const IDLE_MS = 200;

const world = useWorld();
const steps = useWorkerSteps(world);
let pool: Pool;
let sale: Sale;

beforeAll(() => {
  pool = connectPostgres({ url: world.databaseUrl, size: 2, timeoutMs: IDLE_MS, name: 'frozen', log: world.log });
});
beforeEach(async () => {
  sale = await makeSale(world, { units: 10 });
});
afterAll(() => pool.end());

const numbers = () => steps.numbers(sale.id);

async function accepted(quantity: number): Promise<OrderBatch> {
  const { id } = await steps.order(sale.id, { quantity });
  return steps.batchOf(sale.id, id);
}

/** @param lost keys that Redis loses; none: Redis is another instance */
async function rebuildInventory(...lost: ('inventory' | 'reservations')[]): Promise<void> {
  if (lost.length > 0) await steps.lose(sale.id, ...lost);
  else await steps.otherInstance(sale.id);
  await steps.watchOnce();
}

/** A worker that read the ledger, found nothing, and freezes. */
async function standStill(batch: OrderBatch) {
  const [asked, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let question: Promise<unknown> = Promise.resolve();
  const frozen = createOrderStore(pool).confirm(batch, async (missing) => {
    asked.resolve();
    await goesOn.promise;
    const answered = steps.inventory.readmit(missing);
    question = answered;
    return answered;
  });
  frozen.catch(() => {});
  await asked.promise;
  return {
    /** Resumes it. @returns the inventory's answer to the late call */
    async late(): Promise<unknown> {
      goesOn.resolve();
      await expect(frozen, 'its lock on the row is lost').rejects.toThrow();
      return question;
    },
  };
}

test('[I1] [I11] an order readmitted and committed meanwhile is not readmitted again, and counts once', async () => {
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

test('[I1] [I11] an order that the new inventory kept and that was committed meanwhile counts once', async () => {
  const batch = await accepted(4);
  await rebuildInventory();
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 4, sold: 0 });
  const frozen = await standStill(batch);
  // As the reaper redelivers it, in the inventory's epoch.
  await steps.confirm({ ...batch, epoch: 2 });
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I1] [I11] a call from before another rebuild is refused: its epoch is older, and the order counts as sold', async () => {
  const batch = await accepted(4);
  await rebuildInventory('inventory', 'reservations');
  const frozen = await standStill(batch);
  await steps.confirm(batch);
  await rebuildInventory('inventory');
  expect(await world.redis.exists(world.keys.sale(sale.id).earlierOrders), 'the new inventory had none').toBe(0);
  await expect(frozen.late()).rejects.toThrow(InventoryRecoveringError);
  expect(await numbers()).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I5] an order readmitted and rejected meanwhile is not readmitted again: its units are released once', async () => {
  const batch = await accepted(4);
  await rebuildInventory('inventory', 'reservations');
  const frozen = await standStill(batch);
  await steps.inventory.readmit({ ...batch, epoch: 2 });
  await steps.orders.reject(sale.id, batch.orders, 'UNCONFIRMABLE');
  await steps.inventory.release(sale.id, 2, [batch.orders[0]?.id as string]);
  await expect(frozen.late()).rejects.toThrow(OrderEndedError);
  expect(await numbers()).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
});
