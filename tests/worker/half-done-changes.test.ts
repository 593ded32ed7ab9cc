/** What an operator began and a crash left half done: the worker's repair loop brings inventory and ledger together. */

import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import { syncSales } from '@flash-sale/worker/recovery/sync-sales.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { OPERATOR, type WorkerSteps, workerSteps } from '../support/worker-steps.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let steps: WorkerSteps;
let inventory: WorkerSteps['inventory'];
let sales: WorkerSteps['sales'];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  steps = workerSteps(world);
  ({ inventory, sales } = steps);
});
afterEach(() => world.close());

const sync = (): Promise<void> => syncSales(steps);
/** As if the process that began them had died a while ago. */
const ageChanges = () => world.pool.query(`UPDATE stock_changes SET created_at = now() - interval '1 minute'`);

test('a sale without an inventory gets it, and orders can be placed', async () => {
  const now = Date.now();
  await sales.create(
    {
      id: 'half',
      name: 'x',
      description: null,
      originalPrice: '1',
      flashSalePrice: '1',
      currency: 'USD',
      units: 5,
      startsAt: now,
      endsAt: now + 60_000,
      perBuyerLimit: 0,
    },
    OPERATOR,
  );
  await sync();
  expect(await steps.numbers('half')).toMatchObject({ available: 5 });
  expect((await steps.order('half')).kind).toBe('reserved');
});

test('a pause that did not reach the inventory reaches it', async () => {
  const sale = await makeSale(world);
  await sales.setPaused(sale.id, true, OPERATOR);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('paused');
});

test('an end that was brought forward and did not reach the inventory reaches it, though the sale is over by then', async () => {
  const sale = await makeSale(world);
  const now = Date.now();
  await sales.changeWindow(sale.id, now - 9_000_000, now - 8_000_000, OPERATOR);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('ended');
});

test('an inventory that came back with its old end gets the new one again, though the sale is over by then', async () => {
  const sale = await makeSale(world);
  const { inventory: key } = world.keys.sale(sale.id);
  const before = await world.redis.hgetall(key);
  const now = Date.now();
  const ended = await sales.changeWindow(sale.id, now - 90_000, now - 1_000, OPERATOR);
  if (!ended) throw new Error('no sale');
  await inventory.configure(ended);
  await sales.markSynced(sale.id, ended.version);
  // Redis lost its last second.
  await world.redis.hset(key, before);
  await sync();
  expect((await steps.order(sale.id)).kind).toBe('ended');
});

test('a stock change between ledger and inventory is finished', async () => {
  const sale = await makeSale(world);
  await sales.beginStockChange({ id: 'c', saleId: sale.id, delta: 3, reason: 'x' }, OPERATOR);
  await sync();
  expect(await steps.numbers(sale.id), 'its process may still be at work').toMatchObject({ available: 10 });
  await ageChanges();
  await sync();
  expect(await steps.numbers(sale.id)).toMatchObject({ available: 13 });
  expect(await sales.listUnfinishedStockChanges(0)).toEqual([]);
});

test.each([
  ['a withdrawal', -2, 10],
  ['an addition', 3, 13],
])(
  '[I1] [I11] %s whose inventory is lost before the ledger hears of it is decided by the new inventory, and both agree',
  async (_, delta, between) => {
    const sale = await makeSale(world, { units: 10 });
    const change = await sales.beginStockChange({ id: 'c', saleId: sale.id, delta, reason: 'x' }, OPERATOR);
    if (!change || typeof change === 'string') throw new Error('not begun');
    // Before the ledger is told, Redis loses what the inventory has just done, and the inventory is rebuilt.
    const losing = {
      ...inventory,
      async adjust(...args: Parameters<Inventory['adjust']>) {
        const decided = await inventory.adjust(...args);
        expect(decided).toEqual({ kind: 'applied', available: 10 + delta, epoch: 1 });
        await steps.lose(sale.id, 'inventory', 'stockChanges');
        await steps.watchOnce();
        return decided;
      },
    };
    expect(await syncStockChange({ inventory: losing, sales }, change), 'nobody is told that it is done').toBeNull();
    const allotments = async () => [(await steps.numbers(sale.id))?.allotment, (await sales.find(sale.id))?.allotment];
    expect(await allotments()).toEqual([between, between]);
    await ageChanges();
    await sync();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
    expect(await sales.listUnfinishedStockChanges(0)).toEqual([]);
    await sync();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
  },
);

test('[I1] a stock change that a restored ledger does not know can be made again under its id, in both', async () => {
  const sale = await makeSale(world, { units: 10 });
  const add = async (): Promise<void> => {
    const change = { id: 'pallet', saleId: sale.id, delta: 5, reason: 'x' };
    const begun = await sales.beginStockChange(change, OPERATOR);
    if (begun === null || typeof begun === 'string') throw new Error(`not begun: ${begun}`);
    await syncStockChange({ inventory, sales }, begun);
  };
  await add();
  // As a backup of before, restored while Redis lives on.
  await world.pool.query('DELETE FROM stock_changes');
  await world.pool.query('UPDATE sales SET allotment = 10, epoch = epoch + 1000000 WHERE id = $1', [sale.id]);
  await steps.watchOnce();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
  await add();
  expect(await steps.numbers(sale.id)).toEqual({ allotment: 15, available: 15, reserved: 0, sold: 0 });
  expect((await sales.find(sale.id))?.allotment).toBe(15);
});
