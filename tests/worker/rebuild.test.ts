/** An inventory that Redis lost, in part or whole, is rebuilt from the ledger and the reservations that are left. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { InventoryRecoveringError } from '@flash-sale/core/inventory/outcomes.ts';
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

const numbers = async (saleId: string) => (await inventory.read(saleId)).numbers;

interface Wanted {
  buyerId?: string;
  quantity?: number;
  key?: string;
}

/** @returns the inventory's word, and the order's id where it holds units */
async function order(sale: Sale, { buyerId = 'ann', quantity = 1, key }: Wanted = {}) {
  const request = { orderId: newOrderId(sale.id), buyerId, quantity, requestId: 'r', idempotencyKey: key ?? null };
  const { decisions } = await inventory.reserve(sale.id, [request], -1, { capacity: 0, refillRate: 1 });
  const outcome = decisions[0]?.outcome;
  return { word: outcome?.word, id: outcome?.word === 'replayed' ? outcome.orderId : request.orderId };
}

async function batchOf(sale: Sale, id: string, epoch = 1) {
  const reservation = await inventory.findReservation(sale.id, id);
  if (!reservation || reservation === 'recovering') throw new Error('no reservation');
  return { saleId: sale.id, epoch, orders: [reservation] };
}

const confirm = (batch: Awaited<ReturnType<typeof batchOf>>): Promise<void> =>
  confirmOrders({ inventory, orders: createOrderStore(world.pool), log: world.log }, batch);

async function confirmed(sale: Sale, wanted: Wanted = {}): Promise<string> {
  const { id } = await order(sale, wanted);
  await confirm(await batchOf(sale, id));
  return id;
}

/** As FLUSHALL would, for this sale. */
async function lose(sale: Sale, ...only: ('inventory' | 'reservations')[]): Promise<void> {
  const keys = world.keys.sale(sale.id);
  const all = [keys.inventory, keys.reservations, keys.claims, keys.redeliveries, keys.buyers, keys.orderKeys];
  await world.redis.del(...(only.length > 0 ? only.map((name) => keys[name]) : [...all, keys.stockChanges]));
}

const outcome = async (id: string) =>
  (await world.pool.query('SELECT status, reason FROM orders WHERE id = $1', [id])).rows[0];
const epochs = async (sale: Sale) =>
  (
    await world.pool.query('SELECT epoch, reason, opened_at FROM inventory_epochs WHERE sale_id = $1 ORDER BY epoch', [
      sale.id,
    ])
  ).rows;

test('[I11] [trap 6] an inventory that is gone: nothing is admitted, and it comes back with what the ledger has sold', async () => {
  const sale = await makeSale(world, { units: 10 });
  await confirmed(sale, { quantity: 3 });
  await lose(sale);
  expect((await order(sale)).word).toBe('unknown_sale');
  await watchOnce();
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 0, sold: 3 });
  expect(await epochs(sale)).toMatchObject([{ epoch: 2, reason: 'missing', opened_at: expect.any(Date) }]);
  expect((await order(sale)).word).toBe('reserved');
});

test('[I11] another life of Redis admits nothing and takes no writes, though every key is there; reservations go on', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 3 });
  const sold = await confirmed(sale, { quantity: 2 });
  const pending = await order(sale, { buyerId: 'bob', quantity: 3 });
  const before = await batchOf(sale, pending.id);
  // As an AOF that was loaded by another server: the numbers are there, and the run id is not this server's.
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', 'f'.repeat(40));
  expect((await order(sale)).word).toBe('recovering');
  expect(await inventory.commit(sale.id, 1, [pending.id])).toBe(0);
  expect(await inventory.release(sale.id, 1, [pending.id])).toBe(0);
  expect(await inventory.adjust(sale.id, 'c', 5)).toEqual({ word: 'recovering' });
  expect(await inventory.configure({ ...sale, version: 9 })).toBe(false);
  expect((await inventory.claimOrphans(sale.id, { ageMs: 0, pauseMs: 0 }, null)).orphans).toEqual([]);
  await watchOnce();
  expect(await epochs(sale)).toMatchObject([{ epoch: 2, reason: 'other_server' }]);
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 5, reserved: 3, sold: 2 });
  expect((await order(sale, { buyerId: 'bob' })).word).toBe('over_buyer_limit');
  expect((await order(sale, { quantity: 2 })).word).toBe('over_buyer_limit');
  // The job of the earlier epoch is still under way.
  await confirm(before);
  expect(await outcome(pending.id)).toEqual({ status: 'confirmed', reason: null });
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 5, reserved: 0, sold: 5 });
  expect(await inventory.release(sale.id, 2, [sold])).toBe(0);
});

test('[I11] settling that comes late, for an epoch that is over, changes nothing: the ledger was counted', async () => {
  const sale = await makeSale(world, { units: 10 });
  const { id } = await order(sale, { quantity: 4 });
  const batch = await batchOf(sale, id);
  await createOrderStore(world.pool).confirm(batch, inventory.readmit);
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', 'f'.repeat(40));
  await watchOnce();
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
  expect(await inventory.commit(sale.id, 1, [id])).toBe(0);
  expect(await inventory.commit(sale.id, 2, [id])).toBe(0);
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 6, reserved: 0, sold: 4 });
});

test('[I11] an order that Redis lost while a worker had it is readmitted by the new inventory, and counts once', async () => {
  const sale = await makeSale(world, { units: 3, perBuyerLimit: 3 });
  const { id } = await order(sale, { quantity: 2 });
  const inTheWorkersHands = await batchOf(sale, id);
  await lose(sale);
  // While the inventory is away the ledger does not take it: it must be known first whether there is room.
  await createSaleStore(world.pool).find(sale.id);
  await createEpochStore(world.pool).begin(sale.id, { reason: 'missing', inventoryEpoch: 0, closedMs: 0 });
  await expect(confirm(inTheWorkersHands)).rejects.toThrow(InventoryRecoveringError);
  expect(await outcome(id)).toBeUndefined();
  await watchOnce();
  expect(await numbers(sale.id)).toEqual({ allotment: 3, available: 3, reserved: 0, sold: 0 });
  await Promise.all([confirm(inTheWorkersHands), confirm(inTheWorkersHands)]);
  expect(await outcome(id)).toEqual({ status: 'confirmed', reason: null });
  expect(await numbers(sale.id)).toEqual({ allotment: 3, available: 1, reserved: 0, sold: 2 });
  expect((await order(sale, { quantity: 1 })).word).toBe('reserved');
  expect((await order(sale, { quantity: 1 })).word).toBe('sold_out');
});

test('[I2] [I11] lost orders for which there is no room any more are rejected; later promises are kept', async () => {
  const sale = await makeSale(world, { units: 3, perBuyerLimit: 2 });
  const lost = await order(sale, { buyerId: 'lost', quantity: 2 });
  const capped = await order(sale, { buyerId: 'ann', quantity: 1 });
  const [lostBatch, cappedBatch] = [await batchOf(sale, lost.id), await batchOf(sale, capped.id)];
  await lose(sale);
  await watchOnce();
  const later = await order(sale, { buyerId: 'ann', quantity: 2 });
  expect(later.word).toBe('reserved');
  await confirm(lostBatch);
  await confirm(cappedBatch);
  expect(await outcome(lost.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await outcome(capped.id)).toEqual({ status: 'rejected', reason: 'OVER_CAP_AFTER_LOSS' });
  await confirm(await batchOf(sale, later.id, 2));
  expect(await outcome(later.id)).toEqual({ status: 'confirmed', reason: null });
  expect(await numbers(sale.id)).toEqual({ allotment: 3, available: 1, reserved: 0, sold: 2 });
});

test('[I4] [I11] [trap 28] keys lead to their orders in the new inventory: of confirmed, rejected and pending ones', async () => {
  const sale = await makeSale(world, { units: 10 });
  const done = await confirmed(sale, { key: 'done' });
  const given = await order(sale, { buyerId: 'bob', key: 'given up' });
  const givenBatch = await batchOf(sale, given.id);
  await createOrderStore(world.pool).reject(sale.id, givenBatch.orders, 'UNCONFIRMABLE');
  await inventory.release(sale.id, 1, [given.id]);
  const pending = await order(sale, { buyerId: 'cid', key: 'pending' });
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', '');
  await watchOnce();
  expect(await order(sale, { key: 'done' })).toEqual({ word: 'replayed', id: done });
  expect(await order(sale, { buyerId: 'bob', key: 'given up' })).toEqual({ word: 'replayed', id: given.id });
  expect(await order(sale, { buyerId: 'cid', key: 'pending' })).toEqual({ word: 'replayed', id: pending.id });
  expect((await order(sale, { key: 'done', quantity: 2 })).word).toBe('key_reused');
  await lose(sale);
  await watchOnce();
  expect(await order(sale, { key: 'done' })).toEqual({ word: 'replayed', id: done });
  expect(await order(sale, { buyerId: 'bob', key: 'given up' })).toEqual({ word: 'replayed', id: given.id });
});

test('changes of stock are neither lost nor done twice', async () => {
  const sale = await makeSale(world, { units: 10 });
  const sales = createSaleStore(world.pool);
  const operator = { actor: 'test', requestId: 'r' };
  const begin = (id: string, delta: number) =>
    sales.beginStockChange({ id, saleId: sale.id, delta, reason: 'x' }, 100, operator);
  await begin('added', 5);
  await begin('withdrawn', -2);
  await begin('not decided', -1);
  await inventory.adjust(sale.id, 'withdrawn', -2);
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', 'f'.repeat(40));
  await watchOnce();
  expect(await numbers(sale.id)).toEqual({ allotment: 13, available: 13, reserved: 0, sold: 0 });
  expect(await inventory.adjust(sale.id, 'added', 5)).toEqual({ word: 'applied', available: 13, epoch: 2 });
  expect(await inventory.adjust(sale.id, 'withdrawn', -2)).toEqual({ word: 'applied', available: 13, epoch: 2 });
  expect(await inventory.adjust(sale.id, 'not decided', -1)).toEqual({ word: 'applied', available: 12, epoch: 2 });
});

test('the operator’s last word is in the new inventory', async () => {
  const sale = await makeSale(world);
  await createSaleStore(world.pool).setPaused(sale.id, true, { actor: 'test', requestId: 'r' });
  await lose(sale);
  await watchOnce();
  expect((await order(sale)).word).toBe('paused');
});

test('an inventory whose reservations are gone is not in step, also where new ones have come since, and is rebuilt', async () => {
  const sale = await makeSale(world, { units: 10 });
  await order(sale, { quantity: 2 });
  await lose(sale, 'reservations');
  const next = await order(sale, { quantity: 3 });
  await watchOnce();
  expect(await epochs(sale)).toMatchObject([{ epoch: 2, reason: 'inconsistent' }]);
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 3, sold: 0 });
  expect(
    (await inventory.claimOrphans(sale.id, { ageMs: 0, pauseMs: 0 }, null)).orphans.map((orphan) => orphan.id),
  ).toEqual([next.id]);
});

test('reservations beyond the allotment (somebody wrote to the inventory) are given up, the newest first', async () => {
  const sale = await makeSale(world, { units: 5 });
  const first = await order(sale, { quantity: 3 });
  const keys = world.keys.sale(sale.id);
  await world.redis.hset(keys.inventory, 'available', 10);
  // Newest by the millisecond.
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = await order(sale, { quantity: 4, buyerId: 'bob' });
  await world.redis.hset(keys.inventory, 'orders', 7);
  await watchOnce();
  expect(await outcome(second.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await numbers(sale.id)).toEqual({ allotment: 5, available: 2, reserved: 3, sold: 0 });
  expect(
    (await inventory.claimOrphans(sale.id, { ageMs: 0, pauseMs: 0 }, null)).orphans.map((orphan) => orphan.id),
  ).toEqual([first.id]);
});

test('[trap 34] a rebuilder that stands still for longer than its lease is overtaken, and refused when it goes on', async () => {
  const sale = await makeSale(world, { units: 10 });
  await confirmed(sale, { quantity: 3 });
  await lose(sale);
  const { rebuild } = parts();
  let goOn = (): void => {};
  let stands = (): void => {};
  const standing = new Promise<void>((resolve) => (stands = resolve));
  const frozen = watchOnce({
    rebuild: {
      ...rebuild,
      open: async (...args) => {
        await new Promise<void>((resolve) => {
          goOn = resolve;
          stands();
        });
        return rebuild.open(...args);
      },
    },
  });
  await standing;
  await watchOnce();
  expect(await numbers(sale.id), 'the lease keeps others out').toBeNull();
  await world.redis.del(world.keys.sale(sale.id).rebuilder);
  await watchOnce();
  expect((await order(sale, { quantity: 5 })).word).toBe('reserved');
  goOn();
  await expect(frozen).rejects.toThrow(InventoryRecoveringError);
  expect(await numbers(sale.id)).toEqual({ allotment: 10, available: 2, reserved: 5, sold: 3 });
  expect(await epochs(sale)).toMatchObject([
    { epoch: 2, opened_at: null },
    { epoch: 3, reason: 'closed', opened_at: expect.any(Date) },
  ]);
});

test('workers that find a closed inventory at the same moment make it once', async () => {
  const sale = await makeSale(world);
  await lose(sale);
  await Promise.all([watchOnce(), watchOnce(), watchOnce(), watchOnce()]);
  expect(await epochs(sale)).toHaveLength(1);
  expect(await numbers(sale.id)).toMatchObject({ available: 10 });
});

test('20,000 confirmed and 3,000 reserved orders, with keys and caps: all there again', async () => {
  const sale = await makeSale(world, { units: 30_000, perBuyerLimit: 5 });
  await world.pool.query(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at, idempotency_key)
     SELECT $1 || '-' || lpad(n::text, 26, '0'), $1, 'buyer-' || (n % 10000), 1, 1, 1, 'USD', 'confirmed', 'r', now(), 'k' || n
       FROM generate_series(1, 20000) n`,
    [sale.id],
  );
  await world.pool.query('UPDATE sales SET sold = 20000 WHERE id = $1', [sale.id]);
  for (let at = 0; at < 3_000; at += 100) {
    const batch = Array.from({ length: 100 }, (_, i) => ({
      orderId: newOrderId(sale.id),
      buyerId: `buyer-${at + i}`,
      quantity: 1,
      requestId: 'r',
      idempotencyKey: null,
    }));
    await inventory.reserve(sale.id, batch, -1, { capacity: 0, refillRate: 1 });
  }
  await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', 'f'.repeat(40));
  await watchOnce();
  expect(await numbers(sale.id)).toEqual({ allotment: 30_000, available: 7_000, reserved: 3_000, sold: 20_000 });
  const keys = world.keys.sale(sale.id);
  expect(await world.redis.hlen(keys.orderKeys)).toBe(20_000);
  expect(await world.redis.hlen(keys.buyers)).toBe(10_000);
  expect(await world.redis.hget(keys.buyers, 'buyer-5')).toBe('3');
  expect(await world.redis.hget(keys.buyers, 'buyer-5000')).toBe('2');
  expect(await world.redis.hlen(keys.reservations)).toBe(3_000);
  expect(await world.redis.scard(keys.earlierOrders)).toBe(3_000);
});
