/** An operator's change that a crash left half done: the worker completes it. */

import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import { syncSales } from '@flash-sale/worker/recovery/sync-sales.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale, newSale } from '../support/sales.ts';
import { OPERATOR, useWorkerSteps } from '../support/worker-steps.ts';

const world = useWorld();
const steps = useWorkerSteps(world);

/** Begins a change of stock under an id of its own. */
async function beginChange(saleId: string, delta: number, id = `${saleId} ${delta}`) {
  const begun = await steps.sales.beginStockChange({ id, saleId, delta, reason: 'x' }, OPERATOR);
  if (begun === null || typeof begun === 'string') throw new Error(`not begun: ${begun}`);
  return begun;
}
/** Changes of this sale that the ledger has no decision for. */
const unfinishedOf = async (saleId: string) =>
  (await steps.sales.listUnfinishedStockChanges(0)).filter((change) => change.saleId === saleId);
const sync = (): Promise<void> => syncSales(steps);
/** As if the process that began them had died a minute ago. */
const ageChanges = () => world.pool.query(`UPDATE stock_changes SET created_at = now() - interval '1 minute'`);

test('a sale without an inventory gets it, and orders can be placed', async () => {
  await steps.sales.create(newSale({ id: 'half', units: 5 }), OPERATOR);
  await sync();
  expect(await steps.numbers('half')).toMatchObject({ available: 5 });
  expect((await steps.order('half')).kind).toBe('reserved');
});

test('a worker has opened such sales before it counts as alive', async () => {
  await steps.sales.create(newSale({ id: 'before', units: 5 }), OPERATOR);
  const worker = await startWorkerHere(world);
  expect(await steps.numbers('before')).toMatchObject({ available: 5 });
  await worker.stop();
});

test('a pause that did not reach the inventory is applied', async () => {
  const sale = await makeSale(world);
  await steps.sales.setPaused(sale.id, true, OPERATOR);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('paused');
});

test('an earlier end that did not reach the inventory is applied, although the sale is over by then', async () => {
  const sale = await makeSale(world);
  const now = Date.now();
  await steps.sales.changeWindow(sale.id, now - 9_000_000, now - 8_000_000, OPERATOR);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('ended');
});

test('an inventory that came back with its old end gets the new one, although the sale is over by then', async () => {
  const sale = await makeSale(world);
  const { inventory: key } = world.keys.sale(sale.id);
  const before = await world.redis.hgetall(key);
  const now = Date.now();
  const ended = await steps.sales.changeWindow(sale.id, now - 90_000, now - 1_000, OPERATOR);
  if (!ended) throw new Error('no sale');
  await steps.inventory.configure(ended);
  await steps.sales.markSynced(sale.id, ended.version);
  // Redis lost its last second.
  await world.redis.hset(key, before);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('ended');
});

test('a stock change between ledger and inventory is finished', async () => {
  const sale = await makeSale(world);
  await beginChange(sale.id, 3);
  await sync();
  expect(await steps.numbers(sale.id), 'its process may still be running').toMatchObject({ available: 10 });
  await ageChanges();
  await sync();
  expect(await steps.numbers(sale.id)).toMatchObject({ available: 13 });
  expect(await unfinishedOf(sale.id)).toEqual([]);
});

test.each([
  ['a withdrawal', -2, 10],
  ['an addition', 3, 13],
])(
  '[I1] [I11] %s whose inventory is lost before the ledger has the decision is decided by the new inventory',
  async (_, delta, between) => {
    const sale = await makeSale(world, { units: 10 });
    const change = await beginChange(sale.id, delta);
    // Before the ledger has the decision, Redis loses the change, and the inventory is rebuilt.
    const losing = {
      ...steps.inventory,
      async adjust(...args: Parameters<Inventory['adjust']>) {
        const decided = await steps.inventory.adjust(...args);
        expect(decided).toEqual({ kind: 'applied', available: 10 + delta, epoch: 1 });
        await steps.lose(sale.id, 'inventory', 'stockChanges');
        await steps.watchOnce();
        return decided;
      },
    };
    expect(await syncStockChange({ ...steps, inventory: losing }, change), 'it is not reported as done').toBeNull();
    const allotments = async () => [
      (await steps.numbers(sale.id))?.allotment,
      (await steps.sales.find(sale.id))?.allotment,
    ];
    expect(await allotments()).toEqual([between, between]);
    await ageChanges();
    await sync();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
    expect(await unfinishedOf(sale.id)).toEqual([]);
    await sync();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
  },
);

test('[I1] a stock change that a restored ledger lost can be made again under its id', async () => {
  const sale = await makeSale(world, { units: 10 });
  const add = async () => syncStockChange(steps, await beginChange(sale.id, 5, 'pallet'));
  await add();
  // As if an earlier backup was restored while Redis kept running.
  await world.pool.query('DELETE FROM stock_changes');
  await world.pool.query('UPDATE sales SET allotment = 10, epoch = epoch + 1000000 WHERE id = $1', [sale.id]);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
  await add();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 15, available: 15, reserved: 0, sold: 0 });
  expect((await steps.sales.find(sale.id))?.allotment).toBe(15);
});
