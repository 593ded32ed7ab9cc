/** What goes wrong on the way while an inventory is rebuilt, or had gone wrong before: it comes to its end all the same, and says the truth. */

import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { type WorkerSteps, workerSteps } from '../support/worker-steps.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let steps: WorkerSteps;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  steps = workerSteps(world);
});
afterEach(() => world.close());

test('[I4] [I11] a key leads to the order that is under way, not to one of the key that was rejected for its sake', async () => {
  const sale = await makeSale(world, { units: 10 });
  const first = await steps.order(sale.id, { key: 'k' });
  const firstBatch = await steps.batchOf(sale.id, first.id);
  await steps.lose(sale.id);
  await steps.watchOnce();
  const second = await steps.order(sale.id, { key: 'k' });
  expect(second).toMatchObject({ kind: 'reserved' });
  await steps.confirm(firstBatch);
  expect(await steps.outcomeOf(first.id)).toEqual({ status: 'rejected', reason: 'DUPLICATE_REQUEST' });
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.order(sale.id, { key: 'k' })).toEqual({ kind: 'replayed', id: second.id });
  await steps.confirm(await steps.batchOf(sale.id, second.id, 3));
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.order(sale.id, { key: 'k' })).toEqual({ kind: 'replayed', id: second.id });
});

test('[I11] a worker that saw a closed inventory, and comes to it when another one has opened it, leaves it open', async () => {
  const sale = await makeSale(world, { units: 10 });
  await steps.otherInstance(sale.id);
  // Each on a connection of its own: what one has seen says nothing of what the other has done.
  const redis = world.redis.duplicate();
  const late = createInventory({ redis, keys: world.keys });
  let looks = 0;
  const check: Inventory['check'] = async (...args) => {
    const condition = await late.check(...args);
    looks += 1;
    if (looks === 1) await steps.watchOnce();
    return condition;
  };
  await steps.watchOnce({
    inventory: { ...late, check },
    rebuild: createInventoryRebuild({ redis, keys: world.keys }),
  });
  redis.disconnect();
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'other_server' }]);
  expect(await steps.order(sale.id)).toMatchObject({ kind: 'reserved' });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 9, reserved: 1, sold: 0 });
});

test('[I11] a reservation beyond the allotment that cannot even be written as rejected does not keep the sale closed', async () => {
  const sale = await makeSale(world, { units: 5 });
  const first = await steps.order(sale.id, { quantity: 5 });
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'available', 10);
  // Newest by the millisecond.
  await new Promise((resolve) => setTimeout(resolve, 5));
  const bad = await steps.order(sale.id, { buyerId: 'bad' });
  const good = await steps.order(sale.id, { buyerId: 'bob', quantity: 2 });
  await world.pool.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.buyer_id = 'bad') EXECUTE FUNCTION refuse()`);
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 5, available: 0, reserved: 5, sold: 0 });
  expect(await steps.outcomeOf(good.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await steps.outcomeOf(bad.id)).toBeUndefined();
  expect(await steps.outcomeOf(first.id)).toBeUndefined();
  const told = world.lines.filter((line) => line.level === 50).map((line) => [line.order_id, line.msg]);
  expect(told).toEqual([[bad.id, expect.stringContaining('is dropped')]]);
  await steps.confirm(await steps.batchOf(sale.id, first.id, 2));
  expect(await steps.outcomeOf(first.id)).toEqual({ status: 'confirmed', reason: null });
});

/** Milliseconds that the ledger takes over each order of the sale, and that a request's statement may take. */
const SLOW_MS = 600;
const STATEMENT_MS = 200;

test('[I11] a ledger that takes longer over a large sale than a request may last: the inventory is rebuilt all the same', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 5 });
  const { id } = await steps.order(sale.id, { key: 'k', quantity: 2 });
  await steps.confirm(await steps.batchOf(sale.id, id));
  await steps.order(sale.id, { buyerId: 'bob' });
  await steps.otherInstance(sale.id);
  // The table as it would be with millions of rows.
  await world.pool.query(`
    ALTER TABLE orders RENAME TO orders_kept;
    CREATE VIEW orders AS SELECT orders_kept.* FROM orders_kept, LATERAL pg_sleep(${SLOW_MS / 1_000})`);
  const { databaseUrl: url, log } = world;
  const pool = connectPostgres({ url, size: 2, timeoutMs: STATEMENT_MS, name: 'impatient', log });
  const { rebuild } = steps;
  const watch = steps.watchOnce({
    epochs: createEpochStore(pool),
    rebuild: {
      ...rebuild,
      // Nor may the transaction be ended that waits for Redis meanwhile.
      async remember(...args) {
        await new Promise((resolve) => setTimeout(resolve, 2 * STATEMENT_MS));
        await rebuild.remember(...args);
      },
    },
  });
  await watch.finally(() => pool.end());
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 1, sold: 2 });
  expect(await steps.order(sale.id, { key: 'k', quantity: 2 })).toEqual({ kind: 'replayed', id });
  expect((await steps.order(sale.id, { quantity: 4 })).kind).toBe('over_buyer_limit');
  expect((await steps.order(sale.id, { buyerId: 'bob', quantity: 5 })).kind).toBe('over_buyer_limit');
});

test('[I11] a rebuild that waits for the ledger for longer than its lease keeps the lease', async () => {
  const sale = await makeSale(world);
  await steps.otherInstance(sale.id);
  const leaseMs = 600;
  let reading = (): void => {};
  const began = new Promise<void>((resolve) => (reading = resolve));
  let goOn = (): void => {};
  const slow = steps.watchOnce({
    leaseMs,
    epochs: {
      ...steps.epochs,
      async read(...args) {
        reading();
        await new Promise<void>((resolve) => (goOn = resolve));
        return steps.epochs.read(...args);
      },
    },
  });
  await began;
  await new Promise((resolve) => setTimeout(resolve, 2 * leaseMs));
  await steps.watchOnce();
  expect(await steps.numbers(sale.id), 'still rebuilt by the first one').toBeNull();
  goOn();
  await slow;
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'other_server' }]);
  expect(await steps.numbers(sale.id)).toMatchObject({ available: 10 });
});
