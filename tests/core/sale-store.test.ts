/** Sales and the operators' actions in the ledger, with a real PostgreSQL. */

import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createSaleStore, type SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let sales: SaleStore;
const operator = { actor: 'admin from 127.0.0.1', requestId: 'r7' };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  sales = createSaleStore(world.pool);
});
afterAll(() => world.close());

const actions = async (saleId: string) =>
  (
    await world.pool.query(
      'SELECT actor, action, before, after, reason, request_id FROM operator_actions WHERE sale_id = $1 ORDER BY id',
      [saleId],
    )
  ).rows;

test('prices are kept exactly, and an existing sale is left as it is', async () => {
  const sale = await makeSale(world, { originalPrice: '999999999.9999', flashSalePrice: '0.1' });
  expect(await sales.find(sale.id)).toMatchObject({ originalPrice: '999999999.9999', flashSalePrice: '0.1' });
  const again = { ...sale, units: 1, description: null };
  expect(await sales.create(again, operator)).toBeNull();
  expect(await sales.find(sale.id)).toMatchObject({ allotment: 10 });
});

test.each([200, 2_000])(
  'with a statement timeout of %i ms, a locked sale is still a lock timeout',
  async (timeoutMs) => {
    const sale = await makeSale(world);
    const pool = connectPostgres({ url: world.databaseUrl, size: 1, timeoutMs, name: 'bounded', log: world.log });
    const holder = await world.pool.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM sales WHERE id = $1 FOR UPDATE', [sale.id]);
    await expect(createSaleStore(pool).setPaused(sale.id, true, operator)).rejects.toMatchObject({ code: '55P03' });
    await holder.query('ROLLBACK');
    holder.release();
    await pool.end();
  },
);

test('each action is recorded with actor, before and after, unless it changes nothing', async () => {
  const sale = await makeSale(world);
  await sales.setPaused(sale.id, true, operator);
  await sales.setPaused(sale.id, true, operator);
  const change = await sales.beginStockChange({ id: 'c1', saleId: sale.id, delta: 5, reason: 'found more' }, operator);
  if (!change || typeof change === 'string') throw new Error('not begun');
  await sales.finishStockChange(change, { kind: 'applied', epoch: 1 });
  await sales.finishStockChange(change, { kind: 'applied', epoch: 1 });
  expect(await actions(sale.id)).toMatchObject([
    { action: 'create', before: null, after: { id: sale.id, allotment: 10 } },
    {
      actor: operator.actor,
      action: 'pause',
      before: { paused: false },
      after: { paused: true, version: 2 },
      request_id: 'r7',
    },
    {
      action: 'change_stock',
      before: { allotment: 10 },
      after: { allotment: 15, delta: 5, decided: 'applied' },
      reason: 'found more',
    },
  ]);
});

test('a change of stock whose process died is found and finished, once', async () => {
  const sale = await makeSale(world);
  const inventory = createInventory(world);
  const begun = await sales.beginStockChange({ id: 'died', saleId: sale.id, delta: 7, reason: 'x' }, operator);
  // The process died here: the ledger has room for 17, the inventory sells 10.
  expect(begun).toMatchObject({ state: 'pending' });
  const [unfinished] = await sales.listUnfinishedStockChanges(-1_000);
  if (!unfinished) throw new Error('not found');
  await Promise.all(Array.from({ length: 5 }, () => syncStockChange({ inventory, sales }, unfinished)));
  expect(await sales.listUnfinishedStockChanges(-1_000)).toEqual([]);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ allotment: 17, available: 17 });
  expect(await sales.find(sale.id)).toMatchObject({ allotment: 17 });
  expect((await actions(sale.id)).filter((action) => action.action === 'change_stock')).toHaveLength(1);
});

test('units are withdrawn in the inventory first: a refused withdrawal changes neither', async () => {
  const sale = await makeSale(world, { units: 3 });
  const inventory = createInventory(world);
  const begin = (id: string, delta: number) =>
    sales.beginStockChange({ id, saleId: sale.id, delta, reason: 'x' }, operator);
  for (const [id, delta, allotment, kind] of [
    ['w1', -5, 3, 'refused'],
    ['w2', -2, 1, 'applied'],
  ] as const) {
    const change = await begin(id, delta);
    if (!change || typeof change === 'string') throw new Error('not begun');
    expect(await syncStockChange({ inventory, sales }, change)).toMatchObject({ kind });
    expect(await sales.find(sale.id)).toMatchObject({ allotment });
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ allotment });
  }
});

test('the stock of a sale without an inventory cannot be changed: the change would count twice', async () => {
  const made = await sales.create(
    {
      id: 'unopened',
      name: 'x',
      description: null,
      originalPrice: '1',
      flashSalePrice: '1',
      currency: 'USD',
      units: 5,
      startsAt: 1,
      endsAt: 2,
      perBuyerLimit: 0,
    },
    operator,
  );
  expect(made?.inventoryVersion).toBe(0);
  expect(await sales.beginStockChange({ id: 'g', saleId: 'unopened', delta: 5, reason: 'x' }, operator)).toBe(
    'inventory_closed',
  );
});

test('an inventory that is lost is not created again', async () => {
  const sale = await makeSale(world);
  const inventory = createInventory(world);
  await world.redis.del(world.keys.sale(sale.id).inventory);
  const known = await sales.find(sale.id);
  if (!known) throw new Error('no sale');
  expect(await syncSale({ inventory, sales }, known)).toBe(false);
  expect((await inventory.read(sale.id)).numbers).toBeNull();
});
