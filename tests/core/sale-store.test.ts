/** Sales and the operators' actions in the ledger, with a real PostgreSQL. */

import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createSaleStore, type SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { beforeAll, expect, test } from 'vitest';
import { times, useWorld } from '../support/fixtures.ts';
import { makeSale, newSale } from '../support/sales.ts';

const world = useWorld();
let sales: SaleStore;
const operator = { actor: 'admin from 127.0.0.1', requestId: 'r7' };

beforeAll(() => {
  sales = createSaleStore(world.pool);
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

test('a change of stock whose process died is found and finished, once', async () => {
  const sale = await makeSale(world);
  const inventory = createInventory(world);
  const begun = await sales.beginStockChange({ id: 'died', saleId: sale.id, delta: 7, reason: 'x' }, operator);
  // The process died here: the ledger has room for 17, the inventory sells 10.
  expect(begun).toMatchObject({ state: 'pending' });
  const [unfinished] = await sales.listUnfinishedStockChanges(-1_000);
  if (!unfinished) throw new Error('not found');
  await times(5, () => syncStockChange({ inventory, sales }, unfinished));
  expect(await sales.listUnfinishedStockChanges(-1_000)).toEqual([]);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ allotment: 17, available: 17 });
  expect(await sales.find(sale.id)).toMatchObject({ allotment: 17 });
  const sql = "SELECT FROM operator_actions WHERE sale_id = $1 AND action = 'change_stock'";
  expect((await world.pool.query(sql, [sale.id])).rowCount).toBe(1);
});

test('the stock of a sale without an inventory cannot be changed: the change would count twice', async () => {
  const made = await sales.create(newSale({ id: 'unopened' }), operator);
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
