/** Faults before and during a rebuild: it still completes, and the new inventory is right. */

import { setTimeout as pause } from 'node:timers/promises';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { useWorkerSteps } from '../support/worker-steps.ts';

const world = useWorld();
const steps = useWorkerSteps(world);

test('[I4] [I11] a key leads to its pending order, not to one that was rejected as its duplicate', async () => {
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

test('[I11] a worker that saw a closed inventory leaves it open if another worker opened it meanwhile', async () => {
  const sale = await makeSale(world, { units: 10 });
  await steps.otherInstance(sale.id);
  // On a connection of its own: what one client saw says nothing about the other.
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

test('[I11] a reservation beyond the allotment that cannot be rejected does not keep the sale closed', async () => {
  const sale = await makeSale(world, { units: 5 });
  const first = await steps.order(sale.id, { quantity: 5 });
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'available', 10);
  // The later orders are newer by milliseconds.
  await pause(5);
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

/** ms that the ledger needs for each order of the sale, and that a request's statement may take. */
const SLOW_MS = 600;
const STATEMENT_MS = 200;

test('[I11] a ledger that needs longer for a large sale than a request may take does not stop a rebuild', async () => {
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
      // Nor is the transaction ended that waits for Redis meanwhile.
      async remember(...args) {
        await pause(2 * STATEMENT_MS);
        await rebuild.remember(...args);
      },
    },
  });
  await watch.finally(async () => {
    await pool.end();
    await world.pool.query('DROP VIEW orders; ALTER TABLE orders_kept RENAME TO orders');
  });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 1, sold: 2 });
  expect(await steps.order(sale.id, { key: 'k', quantity: 2 })).toEqual({ kind: 'replayed', id });
  expect((await steps.order(sale.id, { quantity: 4 })).kind).toBe('over_buyer_limit');
  expect((await steps.order(sale.id, { buyerId: 'bob', quantity: 5 })).kind).toBe('over_buyer_limit');
});

test('[I11] a rebuild that waits longer for the ledger than its lease lasts keeps the lease', async () => {
  const sale = await makeSale(world);
  await steps.otherInstance(sale.id);
  const leaseMs = 600;
  const [reading, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slow = steps.watchOnce({
    leaseMs,
    epochs: {
      ...steps.epochs,
      async read(...args) {
        reading.resolve();
        await goesOn.promise;
        return steps.epochs.read(...args);
      },
    },
  });
  await reading.promise;
  await pause(2 * leaseMs);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id), 'the first one still rebuilds it').toBeNull();
  goesOn.resolve();
  await slow;
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'other_server' }]);
  expect(await steps.numbers(sale.id)).toMatchObject({ available: 10 });
});
