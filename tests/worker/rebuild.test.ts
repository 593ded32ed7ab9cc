/** An inventory that Redis lost is rebuilt from the ledger and the remaining reservations. */
import { setTimeout as pause } from 'node:timers/promises';
import { InventoryRecoveringError } from '@flash-sale/core/inventory/outcomes.ts';
import { expect, test, vi } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { makeSale, orderRequest } from '../support/sales.ts';
import { OPERATOR, useWorkerSteps, type WorkerSteps } from '../support/worker-steps.ts';

const world = useWorld();
const steps = useWorkerSteps(world);

async function confirmed(saleId: string, wanted: Parameters<WorkerSteps['order']>[1] = {}): Promise<string> {
  const { id } = await steps.order(saleId, wanted);
  await steps.confirm(await steps.batchOf(saleId, id));
  return id;
}

const orphans = async (saleId: string): Promise<string[]> =>
  (await steps.inventory.claimOrphans(saleId, { ageMs: -1, pauseMs: 0 }, null)).orphans
    .map((orphan) => orphan.id)
    .sort();

test('[I11] [trap 6] a lost inventory accepts nothing, and is rebuilt with what the ledger has sold', async () => {
  const sale = await makeSale(world, { units: 10 });
  await confirmed(sale.id, { quantity: 3 });
  await steps.lose(sale.id);
  expect((await steps.order(sale.id)).kind).toBe('unknown_sale');
  const publish = vi.spyOn(world.redis, 'publish');
  await steps.watchOnce();
  expect(publish, 'once it is open').toHaveBeenCalledOnce();
  publish.mockRestore();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 0, sold: 3 });
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'missing', opened_at: expect.any(Date) }]);
  expect((await steps.order(sale.id)).kind).toBe('reserved');
});

test('[I11] another Redis instance accepts neither orders nor writes, although every key is there; reservations are kept', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 3 });
  const sold = await confirmed(sale.id, { quantity: 2 });
  const pending = await steps.order(sale.id, { buyerId: 'bob', quantity: 3 });
  const before = await steps.batchOf(sale.id, pending.id);
  await steps.otherInstance(sale.id);
  expect((await steps.order(sale.id)).kind).toBe('recovering');
  expect(await steps.inventory.commit(sale.id, 1, [pending.id])).toBe(0);
  expect(await steps.inventory.release(sale.id, 1, [pending.id])).toBe(0);
  expect(await steps.inventory.adjust(sale.id, 'c', 5)).toEqual({ kind: 'recovering' });
  expect(await steps.inventory.configure({ ...sale, version: 9 })).toBe(false);
  expect(await orphans(sale.id)).toEqual([]);
  await steps.watchOnce();
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'other_server' }]);
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 5, reserved: 3, sold: 2 });
  expect((await steps.order(sale.id, { buyerId: 'bob' })).kind).toBe('over_buyer_limit');
  expect((await steps.order(sale.id, { quantity: 2 })).kind).toBe('over_buyer_limit');
  // The job of the earlier epoch still runs.
  await steps.confirm(before);
  expect(await steps.outcomeOf(pending.id)).toEqual({ status: 'confirmed', reason: null });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 5, reserved: 0, sold: 5 });
  expect(await steps.inventory.release(sale.id, 2, [sold])).toBe(0);
});

test('[I11] an order that Redis lost while a worker confirmed it is readmitted, and counts once', async () => {
  const sale = await makeSale(world, { units: 3, perBuyerLimit: 3 });
  const { id } = await steps.order(sale.id, { quantity: 2 });
  const batchInProgress = await steps.batchOf(sale.id, id);
  await steps.lose(sale.id);
  // The ledger refuses the order until the inventory is rebuilt: no units may be left for it.
  await steps.sales.find(sale.id);
  await steps.epochs.begin(sale.id, { reason: 'missing', inventoryEpoch: 0, closedMs: 0 });
  await expect(steps.confirm(batchInProgress)).rejects.toThrow(InventoryRecoveringError);
  expect(await steps.outcomeOf(id)).toBeUndefined();
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 3, available: 3, reserved: 0, sold: 0 });
  await Promise.all([steps.confirm(batchInProgress), steps.confirm(batchInProgress)]);
  expect(await steps.outcomeOf(id)).toEqual({ status: 'confirmed', reason: null });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 3, available: 1, reserved: 0, sold: 2 });
  expect((await steps.order(sale.id, { quantity: 1 })).kind).toBe('reserved');
  expect((await steps.order(sale.id, { quantity: 1 })).kind).toBe('sold_out');
});

test('[I2] [I11] lost orders are rejected if no units are left for them; later orders are kept', async () => {
  const sale = await makeSale(world, { units: 3, perBuyerLimit: 2 });
  const lost = await steps.order(sale.id, { buyerId: 'lost', quantity: 2 });
  const capped = await steps.order(sale.id, { buyerId: 'ann', quantity: 1 });
  const [lostBatch, cappedBatch] = [await steps.batchOf(sale.id, lost.id), await steps.batchOf(sale.id, capped.id)];
  await steps.lose(sale.id);
  await steps.watchOnce();
  const later = await steps.order(sale.id, { buyerId: 'ann', quantity: 2 });
  expect(later.kind).toBe('reserved');
  await steps.confirm(lostBatch);
  await steps.confirm(cappedBatch);
  expect(await steps.outcomeOf(lost.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await steps.outcomeOf(capped.id)).toEqual({ status: 'rejected', reason: 'OVER_CAP_AFTER_LOSS' });
  await steps.confirm(await steps.batchOf(sale.id, later.id, 2));
  expect(await steps.outcomeOf(later.id)).toEqual({ status: 'confirmed', reason: null });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 3, available: 1, reserved: 0, sold: 2 });
});

test('[I4] [I11] [trap 28] idempotency keys return their confirmed, rejected and pending orders after a rebuild', async () => {
  const sale = await makeSale(world, { units: 10 });
  const done = await confirmed(sale.id, { key: 'done' });
  const unconfirmable = await steps.order(sale.id, { buyerId: 'bob', key: 'rejected' });
  const unconfirmableBatch = await steps.batchOf(sale.id, unconfirmable.id);
  await steps.orders.reject(sale.id, unconfirmableBatch.orders, 'UNCONFIRMABLE');
  await steps.inventory.release(sale.id, 1, [unconfirmable.id]);
  const pending = await steps.order(sale.id, { buyerId: 'cid', key: 'pending' });
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.order(sale.id, { key: 'done' })).toEqual({ kind: 'replayed', id: done });
  expect(await steps.order(sale.id, { buyerId: 'bob', key: 'rejected' })).toEqual({
    kind: 'replayed',
    id: unconfirmable.id,
  });
  expect(await steps.order(sale.id, { buyerId: 'cid', key: 'pending' })).toEqual({ kind: 'replayed', id: pending.id });
  expect((await steps.order(sale.id, { key: 'done', quantity: 2 })).kind).toBe('key_reused');
  await steps.lose(sale.id);
  await steps.watchOnce();
  expect(await steps.order(sale.id, { key: 'done' })).toEqual({ kind: 'replayed', id: done });
  expect(await steps.order(sale.id, { buyerId: 'bob', key: 'rejected' })).toEqual({
    kind: 'replayed',
    id: unconfirmable.id,
  });
});

test('stock changes are neither lost nor applied twice', async () => {
  const sale = await makeSale(world, { units: 10 });
  const begin = (id: string, delta: number) =>
    steps.sales.beginStockChange({ id, saleId: sale.id, delta, reason: 'x' }, OPERATOR);
  await begin('added', 5);
  await begin('withdrawn', -2);
  await begin('not decided', -1);
  await steps.inventory.adjust(sale.id, 'withdrawn', -2);
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 13, available: 13, reserved: 0, sold: 0 });
  expect(await steps.inventory.adjust(sale.id, 'added', 5)).toEqual({ kind: 'applied', available: 13, epoch: 2 });
  expect(await steps.inventory.adjust(sale.id, 'withdrawn', -2)).toEqual({ kind: 'applied', available: 13, epoch: 2 });
  expect(await steps.inventory.adjust(sale.id, 'not decided', -1)).toEqual({
    kind: 'applied',
    available: 12,
    epoch: 2,
  });
});

test('the rebuilt inventory has the operator’s last settings', async () => {
  const sale = await makeSale(world);
  await steps.sales.setPaused(sale.id, true, OPERATOR);
  await steps.lose(sale.id);
  await steps.watchOnce();
  expect((await steps.order(sale.id)).kind).toBe('paused');
});

test('an inventory that lost reservations is inconsistent, even with new ones, and is rebuilt', async () => {
  const sale = await makeSale(world, { units: 10 });
  await steps.order(sale.id, { quantity: 2 });
  await steps.lose(sale.id, 'reservations');
  const next = await steps.order(sale.id, { quantity: 3 });
  await steps.watchOnce();
  expect(await steps.epochsOf(sale.id)).toMatchObject([{ epoch: 2, reason: 'inconsistent' }]);
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 7, reserved: 3, sold: 0 });
  expect(await orphans(sale.id)).toEqual([next.id]);
});

test('reservations beyond the allotment are rejected, the newest first', async () => {
  const sale = await makeSale(world, { units: 5 });
  const first = await steps.order(sale.id, { quantity: 3 });
  const keys = world.keys.sale(sale.id);
  await world.redis.hset(keys.inventory, 'available', 10);
  // The second is newer by milliseconds.
  await pause(5);
  const second = await steps.order(sale.id, { quantity: 4, buyerId: 'bob' });
  await world.redis.hset(keys.inventory, 'orders', 7);
  await steps.watchOnce();
  expect(await steps.outcomeOf(second.id)).toEqual({ status: 'rejected', reason: 'NO_ROOM_AFTER_LOSS' });
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 5, available: 2, reserved: 3, sold: 0 });
  expect(await orphans(sale.id)).toEqual([first.id]);
});

test('[trap 34] a worker that pauses for longer than its lease is fenced off when it resumes', async () => {
  const sale = await makeSale(world, { units: 10 });
  await confirmed(sale.id, { quantity: 3 });
  await steps.lose(sale.id);
  const { rebuild } = steps;
  const [opening, resumes] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const frozen = steps.watchOnce({
    rebuild: {
      ...rebuild,
      open: async (...args) => {
        opening.resolve();
        await resumes.promise;
        return rebuild.open(...args);
      },
    },
  });
  await opening.promise;
  await steps.watchOnce();
  expect(await steps.numbers(sale.id), 'the lease is held').toBeNull();
  await world.redis.del(world.keys.sale(sale.id).rebuilder);
  await steps.watchOnce();
  expect((await steps.order(sale.id, { quantity: 5 })).kind).toBe('reserved');
  resumes.resolve();
  await expect(frozen).rejects.toThrow(InventoryRecoveringError);
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 2, reserved: 5, sold: 3 });
  expect(await steps.epochsOf(sale.id)).toMatchObject([
    { epoch: 2, opened_at: null },
    { epoch: 3, reason: 'closed', opened_at: expect.any(Date) },
  ]);
});

test('workers that find a closed inventory at the same moment rebuild it once', async () => {
  const sale = await makeSale(world);
  await steps.lose(sale.id);
  await Promise.all([steps.watchOnce(), steps.watchOnce(), steps.watchOnce(), steps.watchOnce()]);
  expect(await steps.epochsOf(sale.id)).toHaveLength(1);
  expect(await steps.numbers(sale.id)).toMatchObject({ available: 10 });
});

test('20,000 confirmed and 3,000 reserved orders are restored with keys and caps', async () => {
  const sale = await makeSale(world, { units: 30_000, perBuyerLimit: 5 });
  await world.pool.query(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at, idempotency_key)
     SELECT $1 || '-' || lpad(n::text, 26, '0'), $1, 'buyer-' || (n % 10000), 1, 1, 1, 'USD', 'confirmed', 'r', now(), 'k' || n
       FROM generate_series(1, 20000) n`,
    [sale.id],
  );
  await world.pool.query('UPDATE sales SET sold = 20000 WHERE id = $1', [sale.id]);
  for (let at = 0; at < 3_000; at += 100) {
    const batch = Array.from({ length: 100 }, (_, i) => orderRequest(sale.id, `buyer-${at + i}`));
    await steps.inventory.reserve(sale.id, batch, -1, { capacity: 0, refillRate: 1 });
  }
  await steps.otherInstance(sale.id);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 30_000, available: 7_000, reserved: 3_000, sold: 20_000 });
  const keys = world.keys.sale(sale.id);
  expect(await world.redis.hlen(keys.orderKeys)).toBe(20_000);
  expect(await world.redis.hlen(keys.buyers)).toBe(10_000);
  expect(await world.redis.hget(keys.buyers, 'buyer-5')).toBe('3');
  expect(await world.redis.hget(keys.buyers, 'buyer-5000')).toBe('2');
  expect(await world.redis.hlen(keys.reservations)).toBe(3_000);
  expect(await world.redis.scard(keys.earlierOrders)).toBe(3_000);
});
