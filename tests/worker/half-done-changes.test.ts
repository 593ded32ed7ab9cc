/** What an operator began and a crash left half done: the worker's repair loop brings inventory and ledger together. */

import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createRebuild } from '@flash-sale/worker/recovery/rebuild.ts';
import { createSaleSync } from '@flash-sale/worker/recovery/sync-sales.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;
let workers: { stop(): Promise<void> }[];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
  workers = [];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await world.close();
});

async function work(): Promise<void> {
  workers.push(await startWorkerHere(world));
}

test('a sale without an inventory gets it, and orders can be placed', async () => {
  const sales = createSaleStore(world.pool);
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
    { actor: 'test', requestId: 'r' },
  );
  await work();
  await eventually(
    'the inventory is there',
    5_000,
    async () => (await inventory.read('half')).numbers?.available === 5,
  );
});

test('a pause that did not reach the inventory reaches it', async () => {
  const sale = await makeSale(world);
  await createSaleStore(world.pool).setPaused(sale.id, true, { actor: 'test', requestId: 'r' });
  await work();
  await eventually(
    'the inventory is paused',
    5_000,
    async () => (await world.redis.hget(world.keys.sale(sale.id).inventory, 'paused')) === '1',
  );
});

test('an end that was brought forward and did not reach the inventory reaches it, though the sale is over by then', async () => {
  const sale = await makeSale(world);
  const now = Date.now();
  const operator = { actor: 'test', requestId: 'r' };
  await createSaleStore(world.pool).changeWindow(sale.id, now - 9_000_000, now - 8_000_000, operator);
  await work();
  const endsAt = async () => Number(await world.redis.hget(world.keys.sale(sale.id).inventory, 'ends_at'));
  await eventually('the inventory has the new end', 5_000, async () => (await endsAt()) < now);
});

test('an inventory that came back with its old end gets the new one again, though the sale is over by then', async () => {
  const sale = await makeSale(world);
  const { inventory: key } = world.keys.sale(sale.id);
  const before = await world.redis.hgetall(key);
  const now = Date.now();
  const operator = { actor: 'test', requestId: 'r' };
  const ended = await createSaleStore(world.pool).changeWindow(sale.id, now - 90_000, now - 1_000, operator);
  if (!ended) throw new Error('no sale');
  await inventory.configure(ended);
  await createSaleStore(world.pool).markSynced(sale.id, ended.version);
  // Redis lost its last second.
  await world.redis.hset(key, before);
  await work();
  await eventually(
    'the inventory has the new end',
    5_000,
    async () => Number(await world.redis.hget(key, 'ends_at')) < now,
  );
});

test('a change of stock between ledger and inventory is finished', async () => {
  const sale = await makeSale(world);
  await createSaleStore(world.pool).beginStockChange({ id: 'c', saleId: sale.id, delta: 3, reason: 'x' }, 100, {
    actor: 'test',
    requestId: 'r',
  });
  await world.pool.query(`UPDATE stock_changes SET created_at = now() - interval '1 minute'`);
  await work();
  await eventually(
    'the inventory has it',
    5_000,
    async () => (await inventory.read(sale.id)).numbers?.available === 13,
  );
  await eventually(
    'it is finished',
    5_000,
    async () => (await createSaleStore(world.pool).listUnfinishedStockChanges(0)).length === 0,
  );
});

test.each([
  ['a withdrawal', -2, 10],
  ['an addition', 3, 13],
])(
  '[I1] [I11] %s whose inventory is lost before the ledger hears of it is decided by the new inventory, and both agree',
  async (_, delta, between) => {
    const sale = await makeSale(world, { units: 10 });
    const sales = createSaleStore(world.pool);
    const operator = { actor: 'test', requestId: 'r' };
    const change = await sales.beginStockChange({ id: 'c', saleId: sale.id, delta, reason: 'x' }, 100, operator);
    if (!change || typeof change === 'string') throw new Error('not begun');
    const keys = world.keys.sale(sale.id);
    const [orders, epochs] = [createOrderStore(world.pool), createEpochStore(world.pool)];
    const watch = createRebuild({
      inventory,
      rebuild: createInventoryRebuild(world),
      epochs,
      orders,
      sales,
      log: world.log,
    });
    // While it waits for the sale's row in the ledger, Redis loses what the inventory has just done, and the inventory is rebuilt.
    const losing = {
      ...inventory,
      async adjust(...args: Parameters<Inventory['adjust']>) {
        const decided = await inventory.adjust(...args);
        expect(decided).toEqual({ word: 'applied', available: 10 + delta, epoch: 1 });
        await world.redis.del(keys.inventory, keys.stockChanges);
        await watch.runOnce();
        return decided;
      },
    };
    expect(await syncStockChange({ inventory: losing, sales }, change), 'nobody is told that it is done').toBeNull();
    const allotments = async () => [
      (await inventory.read(sale.id)).numbers?.allotment,
      (await sales.find(sale.id))?.allotment,
    ];
    expect(await allotments()).toEqual([between, between]);
    await world.pool.query(`UPDATE stock_changes SET created_at = now() - interval '1 minute'`);
    await createSaleSync({ inventory, sales, log: world.log }).runOnce();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
    expect(await sales.listUnfinishedStockChanges(0)).toEqual([]);
    await createSaleSync({ inventory, sales, log: world.log }).runOnce();
    expect(await allotments()).toEqual([10 + delta, 10 + delta]);
  },
);

test('[I1] a change of stock that a restored ledger does not know is made again under its id, in both', async () => {
  const sale = await makeSale(world, { units: 10 });
  const sales = createSaleStore(world.pool);
  const add = async (): Promise<void> => {
    const change = { id: 'pallet', saleId: sale.id, delta: 5, reason: 'x' };
    const begun = await sales.beginStockChange(change, 100, { actor: 'test', requestId: 'r' });
    if (begun === null || typeof begun === 'string') throw new Error(`not begun: ${begun}`);
    await syncStockChange({ inventory, sales }, begun);
  };
  await add();
  // As a backup of before, restored while Redis lives on.
  await world.pool.query('DELETE FROM stock_changes');
  await world.pool.query('UPDATE sales SET allotment = 10, epoch = epoch + 1000000 WHERE id = $1', [sale.id]);
  const orders = createOrderStore(world.pool);
  const rebuild = createInventoryRebuild(world);
  const epochs = createEpochStore(world.pool);
  await createRebuild({ inventory, rebuild, epochs, orders, sales, log: world.log }).runOnce();
  const numbers = async () => (await inventory.read(sale.id)).numbers;
  expect(await numbers()).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
  await add();
  expect(await numbers()).toEqual({ allotment: 15, available: 15, reserved: 0, sold: 0 });
  expect((await sales.find(sale.id))?.allotment).toBe(15);
});
