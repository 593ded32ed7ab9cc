/** Breaks of a sale, by hand in Redis or PostgreSQL: the audit names that one and no other. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { allowAnyRow, auditHere, type BreakCase, codesOf, expectBreak } from '../../support/audited.ts';
import { PlantedSale } from '../../support/planted-sale.ts';
import { openWorld, type World } from '../../support/world.ts';

let world: World;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  await allowAnyRow(world);
});
afterAll(() => world.close());

const cases: BreakCase[] = [
  {
    codes: 'INVENTORY_UNREADABLE',
    when: 'a number of the inventory is none',
    async plant(sale) {
      await sale.set({ available: 'many' });
      return 'available';
    },
  },
  {
    codes: 'INVENTORY_UNREADABLE',
    when: 'a key is of another type',
    async plant(sale) {
      await world.redis.del(sale.keys.buyers);
      await world.redis.set(sale.keys.buyers, 'x');
      return 'keys';
    },
  },
  {
    codes: 'NEGATIVE_UNITS',
    when: 'more is reserved than there is',
    async plant(sale) {
      for (let i = 0; i < 7; i++) await sale.reserve(`buyer${i}`);
      return 'available';
    },
  },
  {
    codes: 'EQUATION_BROKEN',
    when: 'a unit comes out of nowhere',
    async plant(sale) {
      await sale.move({ available: 1 });
      return 'allotment';
    },
  },
  {
    codes: 'UNITS_WITHOUT_OWNER',
    when: 'a unit is reserved and no order holds it',
    async plant(sale) {
      await sale.move({ available: -1, reserved: 1 });
      return 'reserved';
    },
  },
  {
    codes: 'UNITS_WITHOUT_OWNER',
    when: 'a unit is sold and no order holds it',
    async plant(sale) {
      await sale.move({ available: -1, sold: 1 });
      return 'sold';
    },
  },
  {
    codes: 'UNITS_NOT_COUNTED',
    when: 'a reservation holds a unit that is available',
    async plant(sale) {
      await sale.reserve('eve');
      await sale.move({ available: 1, reserved: -1 });
      return 'reserved';
    },
  },
  {
    codes: 'UNITS_NOT_COUNTED',
    when: 'the ledger confirmed an order that the inventory never had',
    async plant(sale) {
      await sale.confirm(newOrderId(sale.id), 'mallory');
      await world.redis.hset(sale.keys.buyers, 'mallory', 1);
      return 'sold';
    },
  },
  {
    codes: 'RESERVATION_UNREADABLE',
    when: 'somebody wrote to a reservation',
    async plant(sale) {
      await world.redis.hset(sale.keys.reservations, sale.reserved, '1|soon|cy');
      return sale.reserved;
    },
  },
  {
    codes: 'RESERVATIONS_MISCOUNTED',
    when: 'the inventory counts another number of orders than it has reservations',
    async plant(sale) {
      await world.redis.hincrby(sale.keys.inventory, 'orders', 1);
      return 'orders';
    },
  },
  {
    codes: 'CLAIM_WITHOUT_RESERVATION',
    when: 'the reaper has claimed an order without a reservation',
    async plant(sale) {
      await world.redis.hset(sale.keys.claims, 'nobody', 1);
      return 'nobody';
    },
  },
  {
    codes: 'REDELIVERY_WITHOUT_RESERVATION',
    when: 'redeliveries are counted of an order without a reservation',
    async plant(sale) {
      await world.redis.hset(sale.keys.redeliveries, 'nobody', 3);
      return 'nobody';
    },
  },
  {
    codes: 'LEDGER_SOLD_WRONG',
    when: "the sale's row counts other units than its orders hold",
    async plant(sale) {
      await world.pool.query('UPDATE sales SET sold = sold + 1 WHERE id = $1', [sale.id]);
      return 'sold';
    },
  },
  {
    codes: 'LEDGER_OVERSOLD NEGATIVE_UNITS',
    when: 'more is confirmed than there is',
    async plant(sale) {
      for (let i = 0; i < 8; i++) {
        const order = await sale.reserve(`buyer${i}`);
        await sale.confirm(order, `buyer${i}`);
        await sale.commit(order);
      }
      return 'sold';
    },
  },
  {
    codes: 'ALLOTMENT_DIFFERS',
    when: 'the inventory was given a unit that the ledger does not have',
    async plant(sale) {
      await sale.move({ allotment: 1, available: 1 });
      return 'allotment';
    },
  },
  {
    codes: 'ALLOTMENT_UNEXPLAINED',
    when: 'both were given a unit and nobody wrote it down',
    async plant(sale) {
      await sale.move({ allotment: 1, available: 1 });
      await world.pool.query('UPDATE sales SET allotment = allotment + 1 WHERE id = $1', [sale.id]);
      return 'ledger';
    },
  },
  {
    codes: 'STOCK_CHANGE_STUCK',
    when: 'a change of stock is never finished',
    async plant(sale) {
      await world.pool.query(
        `INSERT INTO stock_changes (id, sale_id, delta, reason, actor, request_id, created_at)
         VALUES ('stuck', $1, -1, 'test', 'test', 'test', now() - interval '1 minute')`,
        [sale.id],
      );
      return 'stuck';
    },
  },
  {
    codes: 'SETTINGS_DIFFER',
    when: 'the inventory has another pause under the same version',
    async plant(sale) {
      await sale.set({ paused: '1' });
      return 'paused';
    },
  },
  {
    codes: 'INVENTORY_VERSION_AHEAD',
    when: 'the inventory has settings that the ledger never had',
    async plant(sale) {
      await sale.set({ version: '7' });
      return 'version';
    },
  },
  {
    codes: 'EPOCHS_DIFFER',
    when: 'the inventory is open in another epoch than the ledger is in',
    async plant(sale) {
      await world.pool.query('UPDATE sales SET epoch = 5 WHERE id = $1', [sale.id]);
      return 'inventory';
    },
  },
  {
    codes: 'EPOCHS_DIFFER',
    when: 'an epoch was written down that the sale is not in',
    async plant(sale) {
      await world.pool.query(
        `INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at) VALUES ($1, 3, 'missing', now())`,
        [sale.id],
      );
      return 'ledger';
    },
  },
  {
    codes: 'EPOCHS_DIFFER',
    when: 'a job is of an epoch that is not there yet',
    plant: (sale) => sale.addJob([sale.reserved], { epoch: 9 }),
  },
  {
    codes: 'INVENTORY_CLOSED',
    when: 'nobody makes a closed inventory anew',
    async plant(sale) {
      await sale.set({ instance_id: '' });
      return 'inventory';
    },
  },
  {
    codes: 'INVENTORY_CLOSED',
    when: 'the inventory is of another life of Redis',
    async plant(sale) {
      await sale.set({ instance_id: '0123456789abcdef' });
      return 'inventory';
    },
  },
  {
    codes: 'INVENTORY_MISSING',
    when: 'nobody makes a lost inventory anew',
    async plant(sale) {
      await world.redis.del(sale.keys.inventory);
      return 'inventory';
    },
  },
  {
    codes: 'SALE_NOT_IN_LEDGER',
    when: 'Redis has a sale that the ledger does not know',
    async plant(sale) {
      for (const table of ['stock_changes', 'inventory_epochs', 'orders']) {
        await world.pool.query(`DELETE FROM ${table} WHERE sale_id = $1`, [sale.id]);
      }
      await world.pool.query('DELETE FROM sales WHERE id = $1', [sale.id]);
      return sale.id;
    },
  },
];

test.each(cases)('$codes: $when', (planted) => expectBreak(world, planted));

test('INVENTORY_MISSING: a sale whose inventory was never made, once it had time to be', async () => {
  const store = createSaleStore(world.pool);
  const made = await PlantedSale.insertOnly(store, 'never-opened');
  const young = await auditHere(world, made);
  expect(young).toMatchObject({ clean: true, sales: [{ inventory: 'not opened yet', equation: null, breaks: [] }] });
  await world.pool.query(`UPDATE sales SET created_at = now() - interval '1 minute' WHERE id = $1`, [made]);
  expect(codesOf(await auditHere(world, made))).toEqual(['INVENTORY_MISSING']);
});

test('UNITS_NOT_COUNTED: not while a job of an earlier epoch is at work on the order', async () => {
  const sale = await PlantedSale.make(world, { perBuyerLimit: 2 });
  const order = newOrderId(sale.id);
  await sale.confirm(order, 'eve');
  await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
  await sale.set({ epoch: '2' });
  const job = await sale.addJob([order], { epoch: 1 });
  expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  await sale.removeJob(job);
  expect(codesOf(await auditHere(world, sale.id))).toEqual(['BUYER_COUNT_WRONG', 'UNITS_NOT_COUNTED']);
});
