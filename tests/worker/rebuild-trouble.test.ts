/** What goes wrong on the way while an inventory is rebuilt, or had gone wrong before: it comes to its end all the same, and says the truth. */

import { REBUILD_LEASE_MS } from '@flash-sale/core/config/limits.ts';
import { newOrderId, type OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { createRebuild } from '@flash-sale/worker/recovery/rebuild.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
});
afterEach(() => world.close());

const parts = () => ({
  inventory,
  rebuild: createInventoryRebuild(world),
  epochs: createEpochStore(world.pool),
  orders: createOrderStore(world.pool),
  sales: createSaleStore(world.pool),
  log: world.log,
});
const watchOnce = (changed: Partial<ReturnType<typeof parts>> = {}): Promise<void> =>
  createRebuild({ ...parts(), ...changed }).runOnce();

/** @returns the inventory's word, and the order's id where it holds units */
async function order(
  sale: Sale,
  { buyerId = 'ann', quantity = 1, key }: { buyerId?: string; quantity?: number; key?: string },
) {
  const request = { orderId: newOrderId(sale.id), buyerId, quantity, requestId: 'r', idempotencyKey: key ?? null };
  const { decisions } = await inventory.reserve(sale.id, [request], -1, { capacity: 0, refillRate: 1 });
  const outcome = decisions[0]?.outcome;
  return { word: outcome?.word, id: outcome?.word === 'replayed' ? outcome.orderId : request.orderId };
}

async function batchOf(sale: Sale, id: string, epoch = 1): Promise<OrderBatch> {
  const reservation = await inventory.findReservation(sale.id, id);
  if (!reservation || reservation === 'recovering') throw new Error('no reservation');
  return { saleId: sale.id, epoch, orders: [reservation] };
}

const confirm = (batch: OrderBatch): Promise<void> =>
  confirmOrders({ inventory, orders: createOrderStore(world.pool), log: world.log }, batch);

/** Everything of the sale, or all but the reservations: then Redis lives another life. */
async function lose(sale: Sale, what: 'all' | 'life'): Promise<void> {
  const keys = world.keys.sale(sale.id);
  if (what === 'life') await world.redis.hset(keys.inventory, 'instance_id', 'of another life');
  else await world.redis.del(keys.inventory, keys.reservations, keys.claims, keys.buyers, keys.orderKeys);
}

const numbers = async (sale: Sale) => (await inventory.read(sale.id)).numbers;
const epochs = async (sale: Sale) =>
  (await world.pool.query('SELECT epoch, reason FROM inventory_epochs WHERE sale_id = $1 ORDER BY epoch', [sale.id]))
    .rows;
const outcome = async (id: string) =>
  (await world.pool.query('SELECT status, reason FROM orders WHERE id = $1', [id])).rows[0];

test('[I4] [I11] a key leads to the order that is under way, not to one of the key that was rejected for its sake', async () => {
  const sale = await makeSale(world, { units: 10 });
  const first = await order(sale, { key: 'k' });
  const firstBatch = await batchOf(sale, first.id);
  await lose(sale, 'all');
  await watchOnce();
  const second = await order(sale, { key: 'k' });
  expect(second).toMatchObject({ word: 'reserved' });
  await confirm(firstBatch);
  expect(await outcome(first.id)).toEqual({ status: 'rejected', reason: 'DUPLICATE_REQUEST' });
  await lose(sale, 'life');
  await watchOnce();
  expect(await order(sale, { key: 'k' })).toEqual({ word: 'replayed', id: second.id });
  await confirm(await batchOf(sale, second.id, 3));
  await lose(sale, 'life');
  await watchOnce();
  expect(await order(sale, { key: 'k' })).toEqual({ word: 'replayed', id: second.id });
});

test('[I11] a worker that saw a closed inventory, and comes to it when another one has opened it, leaves it open', async () => {
  const sale = await makeSale(world, { units: 10 });
  await lose(sale, 'life');
  // Each on a connection of its own: what one has seen says nothing of what the other has done.
  const redis = world.redis.duplicate();
  const late = createInventory({ redis, keys: world.keys });
  let looks = 0;
  const check: Inventory['check'] = async (...args) => {
    const condition = await late.check(...args);
    looks += 1;
    if (looks === 1) await watchOnce();
    return condition;
  };
  await watchOnce({ inventory: { ...late, check }, rebuild: createInventoryRebuild({ redis, keys: world.keys }) });
  redis.disconnect();
  expect(await epochs(sale)).toEqual([{ epoch: 2, reason: 'other_server' }]);
  expect(await order(sale, {})).toMatchObject({ word: 'reserved' });
  expect(await numbers(sale)).toEqual({ allotment: 10, available: 9, reserved: 1, sold: 0 });
});

test('[I11] an inventory of the version before, which did not count its orders, goes on, and is rebuilt', async () => {
  const sale = await makeSale(world, { units: 10 });
  const { id } = await order(sale, { quantity: 2 });
  await world.redis.hdel(world.keys.sale(sale.id).inventory, 'orders');
  const next = await order(sale, { quantity: 3 });
  expect(next.word).toBe('reserved');
  await watchOnce();
  expect(await epochs(sale)).toEqual([{ epoch: 2, reason: 'inconsistent' }]);
  expect(await numbers(sale)).toEqual({ allotment: 10, available: 5, reserved: 5, sold: 0 });
  expect(
    (await inventory.claimOrphans(sale.id, { ageMs: 0, pauseMs: 0 }, null)).orphans.map((orphan) => orphan.id).sort(),
  ).toEqual([id, next.id].sort());
  expect((await order(sale, {})).word).toBe('reserved');
});

test('[I11] a reservation beyond the allotment that cannot even be written as rejected does not keep the sale closed', async () => {
  const sale = await makeSale(world, { units: 5 });
  const first = await order(sale, { quantity: 5 });
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'available', 10);
  // Newest by the millisecond.
  await new Promise((resolve) => setTimeout(resolve, 5));
  const bad = await order(sale, { buyerId: 'bad' });
  const good = await order(sale, { buyerId: 'bob', quantity: 2 });
  await world.pool.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.buyer_id = 'bad') EXECUTE FUNCTION refuse()`);
  await lose(sale, 'life');
  await watchOnce();
  expect(await numbers(sale)).toEqual({ allotment: 5, available: 0, reserved: 5, sold: 0 });
  expect(await outcome(good.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await outcome(bad.id)).toBeUndefined();
  expect(await outcome(first.id)).toBeUndefined();
  const told = world.lines.filter((line) => line.level === 50).map((line) => [line.order_id, line.msg]);
  expect(told).toEqual([[bad.id, expect.stringContaining('is dropped')]]);
  await confirm(await batchOf(sale, first.id, 2));
  expect(await outcome(first.id)).toEqual({ status: 'confirmed', reason: null });
});

/** Milliseconds that the ledger takes over each order of the sale, and that a request's statement may take. */
const SLOW_MS = 1_500;
const STATEMENT_MS = 300;

test('[I11] a ledger that takes longer over a large sale than a request may last: the inventory is rebuilt all the same', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 5 });
  const { id } = await order(sale, { key: 'k', quantity: 2 });
  await confirm(await batchOf(sale, id));
  await order(sale, { buyerId: 'bob' });
  await lose(sale, 'life');
  // The table as it would be with millions of rows.
  await world.pool.query(`
    ALTER TABLE orders RENAME TO orders_kept;
    CREATE VIEW orders AS SELECT orders_kept.* FROM orders_kept, LATERAL pg_sleep(${SLOW_MS / 1_000})`);
  const { databaseUrl: url, log } = world;
  const pool = connectPostgres({ url, size: 2, timeoutMs: STATEMENT_MS, name: 'impatient', log });
  const rebuild = createInventoryRebuild(world);
  const watch = watchOnce({
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
  expect(await numbers(sale)).toEqual({ allotment: 10, available: 7, reserved: 1, sold: 2 });
  expect(await order(sale, { key: 'k', quantity: 2 })).toEqual({ word: 'replayed', id });
  expect((await order(sale, { quantity: 4 })).word).toBe('over_buyer_limit');
  expect((await order(sale, { buyerId: 'bob', quantity: 5 })).word).toBe('over_buyer_limit');
});

test('[I11] a rebuilder that waits for the ledger for longer than its lease keeps it, and is not overtaken', async () => {
  const sale = await makeSale(world);
  await lose(sale, 'life');
  const { read } = createEpochStore(world.pool);
  let reading = (): void => {};
  const began = new Promise<void>((resolve) => (reading = resolve));
  const slow = watchOnce({
    epochs: {
      ...createEpochStore(world.pool),
      async read(...args) {
        reading();
        await new Promise((resolve) => setTimeout(resolve, REBUILD_LEASE_MS * 1.3));
        return read(...args);
      },
    },
  });
  await began;
  await new Promise((resolve) => setTimeout(resolve, REBUILD_LEASE_MS * 1.15));
  await watchOnce();
  expect(await numbers(sale), 'still the first one’s').toBeNull();
  await slow;
  expect(await epochs(sale)).toEqual([{ epoch: 2, reason: 'other_server' }]);
  expect(await numbers(sale)).toMatchObject({ available: 10 });
}, 20_000);
