/** Every violation of the audit, and how a test plants it by hand in Redis or PostgreSQL. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { PlantedSale } from '../../support/planted-sale.ts';
import type { World } from '../../support/world.ts';

/** Codes (the planted one first), description, subject ('' = what `plant` returns), and `plant`. */
type Case = [codes: string, when: string, subject: string, plant: (sale: PlantedSale) => Promise<unknown>];

const OLD = { agoMs: 60_000 };

export function violationCases(world: () => World): Case[] {
  const sql = (text: string, ...values: unknown[]) => world().pool.query(text, values);
  return [
    // The inventory
    ['INVENTORY_UNREADABLE', 'a number is a word', 'available', (sale) => sale.set({ available: 'many' })],
    [
      'INVENTORY_UNREADABLE',
      'a key has another type',
      'keys',
      ({ keys }) => world().redis.multi().del(keys.buyers).set(keys.buyers, 'x').exec(),
    ],
    ['INVENTORY_CLOSED', 'no worker rebuilds it', 'inventory', (sale) => sale.set({ instance_id: '' })],
    [
      'INVENTORY_CLOSED',
      'it is of another Redis',
      'inventory',
      (sale) => sale.set({ instance_id: '0123456789abcdef' }),
    ],
    ['INVENTORY_MISSING', 'no worker rebuilds it', 'inventory', ({ keys }) => world().redis.del(keys.inventory)],
    [
      'NEGATIVE_UNITS',
      'more is reserved than there is',
      'available',
      async (sale) => {
        for (let i = 0; i < 7; i++) await sale.reserve(`buyer${i}`);
      },
    ],
    ['EQUATION_BROKEN', 'a unit appears', 'allotment', (sale) => sale.move({ available: 1 })],
    [
      'UNITS_WITHOUT_OWNER',
      'a unit is reserved for no order',
      'reserved',
      (sale) => sale.move({ available: -1, reserved: 1 }),
    ],
    ['UNITS_WITHOUT_OWNER', 'a unit is sold to nobody', 'sold', (sale) => sale.move({ available: -1, sold: 1 })],
    [
      'UNITS_NOT_COUNTED',
      'a reservation holds an available unit',
      'reserved',
      async (sale) => {
        await sale.reserve('eve');
        await sale.move({ available: 1, reserved: -1 });
      },
    ],
    [
      'UNITS_NOT_COUNTED',
      'the ledger confirmed an order that the inventory never had',
      'sold',
      async (sale) => {
        await sale.confirm(newOrderId(sale.id), 'mallory');
        await world().redis.hset(sale.keys.buyers, 'mallory', 1);
      },
    ],
    [
      'RESERVATION_UNREADABLE',
      'a reservation was overwritten',
      '',
      async (sale) => {
        await world().redis.hset(sale.keys.reservations, sale.reserved, '1|soon|cy');
        return sale.reserved;
      },
    ],
    ['RESERVATIONS_MISCOUNTED', 'the count of orders is wrong', 'orders', (sale) => sale.move({ orders: 1 })],
    ['CLAIM_WITHOUT_RESERVATION', 'a claim is left', 'none', ({ keys }) => world().redis.hset(keys.claims, 'none', 1)],
    [
      'REDELIVERY_WITHOUT_RESERVATION',
      'a count of redeliveries is left',
      'none',
      ({ keys }) => world().redis.hset(keys.redeliveries, 'none', 3),
    ],
    // Orders
    ['ORDER_STUCK', 'an old reservation is in no job', '', (sale) => sale.reserve('eve', 1, OLD)],
    [
      'ORDER_STUCK',
      'a job of an earlier epoch carries an old order that Redis lost, beside a young one',
      '',
      async (sale) => {
        await sale.nextEpoch();
        const order = newOrderId(sale.id);
        await sale.addJob([newOrderId(sale.id)], { epoch: 1 });
        await sale.addJob([order], { epoch: 1, ...OLD });
        return order;
      },
    ],
    [
      'OUTCOME_NOT_APPLIED',
      'a confirmed order stays reserved',
      '',
      async (sale) => {
        const order = await sale.reserve('eve', 1, OLD);
        await sale.confirm(order, 'eve', 1, OLD);
        return order;
      },
    ],
    [
      'OUTCOME_NOT_APPLIED',
      'a rejected order stays reserved',
      '',
      async (sale) => {
        const order = await sale.reserve('eve', 1, OLD);
        await sale.reject(order, 'eve');
        return order;
      },
    ],
    [
      'ORDER_DIFFERS',
      'the ledger has another quantity than was reserved',
      '',
      async (sale) => {
        const order = await sale.reserve('eve', 1);
        await sale.reject(order, 'eve', 2);
        return order;
      },
    ],
    [
      'ORDER_LOST',
      'a key leads to an order that does not exist',
      '',
      async (sale) => {
        const order = newOrderId(sale.id);
        await world().redis.hset(sale.keys.orderKeys, 'eve key', `${order} 1`);
        return order;
      },
    ],
    [
      'ORDER_KEY_WRONG',
      'a key leads to no order',
      'eve key',
      ({ keys }) => world().redis.hset(keys.orderKeys, 'eve key', 'nowhere'),
    ],
    [
      'ORDER_KEY_WRONG',
      "a key leads to another buyer's order",
      'eve key',
      ({ keys, confirmed }) => world().redis.hset(keys.orderKeys, 'eve key', `${confirmed} 1`),
    ],
    [
      'ORDER_KEY_WRONG',
      'a key leads to a rejected order, and another one is confirmed under it',
      'ann k1',
      async (sale) => {
        const second = newOrderId(sale.id);
        await sale.reject(second, 'ann');
        await world().redis.hset(sale.keys.orderKeys, 'ann k1', `${second} 1`);
      },
    ],
    ['ORDER_KEY_MISSING', 'Redis forgot all keys', 'ann k1', ({ keys }) => world().redis.del(keys.orderKeys)],
    [
      'KEY_TWICE ORDER_KEY_WRONG',
      'two confirmed orders have one key',
      'eve twice',
      async (sale) => {
        for (let i = 0; i < 2; i++) await sale.sell('eve', 'twice');
      },
    ],
    [
      'ORDER_ROW_ILLEGAL',
      'a rejected order has no reason',
      '',
      async ({ rejected }) => {
        await sql('UPDATE orders SET reason = NULL WHERE id = $1', rejected);
        return rejected;
      },
    ],
    [
      'ORDER_ROW_ILLEGAL',
      'an order has an unknown status',
      '',
      async ({ rejected }) => {
        await sql(`UPDATE orders SET status = 'maybe' WHERE id = $1`, rejected);
        return rejected;
      },
    ],
    [
      'AMOUNT_WRONG',
      'an amount is not quantity × price',
      '',
      async ({ confirmed }) => {
        await sql('UPDATE orders SET amount = amount + 0.01 WHERE id = $1', confirmed);
        return confirmed;
      },
    ],
    [
      'AMOUNT_WRONG',
      'a confirmed order has no price',
      '',
      async ({ confirmed }) => {
        await sql('UPDATE orders SET unit_price = NULL WHERE id = $1', confirmed);
        return confirmed;
      },
    ],
    // Buyers
    [
      'BUYER_COUNT_WRONG',
      'a unit too many is counted',
      'ann',
      ({ keys }) => world().redis.hincrby(keys.buyers, 'ann', 1),
    ],
    [
      'BUYER_COUNT_WRONG',
      'Redis forgot what a buyer holds',
      'bob',
      ({ keys }) => world().redis.hdel(keys.buyers, 'bob'),
    ],
    [
      'BUYER_COUNT_WRONG',
      'a buyer without orders is counted',
      'none',
      ({ keys }) => world().redis.hset(keys.buyers, 'none', 1),
    ],
    ['BUYER_OVER_CAP', 'confirmed orders exceed the cap', 'bob', (sale) => sale.sell('bob')],
    [
      'BUYER_OVER_CAP',
      'confirmed and reserved orders exceed the cap together',
      'bob',
      (sale) => sale.reserve('bob', 1),
    ],
    // Jobs
    [
      'JOB_WITHOUT_RESERVATION',
      'a job carries an order that nobody reserved',
      '',
      async (sale) => {
        const order = newOrderId(sale.id);
        await sale.addJob([order]);
        return order;
      },
    ],
    ['EPOCHS_DIFFER', 'a job is of a later epoch', '', (sale) => sale.addJob([sale.reserved], { epoch: 9 })],
    // The sale
    [
      'EPOCHS_DIFFER',
      'the ledger is in a later epoch than the open inventory',
      'inventory',
      (sale) => sql('UPDATE sales SET epoch = 5 WHERE id = $1', sale.id),
    ],
    [
      'EPOCHS_DIFFER',
      'an epoch is recorded that the sale is not in',
      'ledger',
      ({ id }) =>
        sql(`INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at) VALUES ($1, 3, 'missing', now())`, id),
    ],
    [
      'SALE_NOT_IN_LEDGER',
      'Redis has a sale that the ledger does not know',
      '',
      async ({ id }) => {
        for (const table of ['stock_changes', 'inventory_epochs', 'orders'])
          await sql(`DELETE FROM ${table} WHERE sale_id = $1`, id);
        await sql('DELETE FROM sales WHERE id = $1', id);
        return id;
      },
    ],
    [
      'LEDGER_SOLD_WRONG',
      "the sale's counter is wrong",
      'sold',
      ({ id }) => sql('UPDATE sales SET sold = sold + 1 WHERE id = $1', id),
    ],
    [
      'LEDGER_OVERSOLD NEGATIVE_UNITS',
      'more is confirmed than there is',
      'sold',
      async (sale) => {
        for (let i = 0; i < 8; i++) await sale.sell(`buyer${i}`);
      },
    ],
    [
      'ALLOTMENT_DIFFERS',
      'the inventory got a unit by hand',
      'allotment',
      (sale) => sale.move({ allotment: 1, available: 1 }),
    ],
    [
      'ALLOTMENT_UNEXPLAINED',
      'both got a unit by hand',
      'ledger',
      async (sale) => {
        await sale.move({ allotment: 1, available: 1 });
        await sql('UPDATE sales SET allotment = allotment + 1 WHERE id = $1', sale.id);
      },
    ],
    [
      'ALLOTMENT_UNEXPLAINED',
      'the initial allotment is not recorded',
      'ledger',
      ({ id }) => sql('DELETE FROM operator_actions WHERE sale_id = $1', id),
    ],
    [
      'STOCK_CHANGE_STUCK',
      'a stock change stays pending',
      '',
      async (sale) => {
        await sale.beginChange('stuck', -1);
        await sql(`UPDATE stock_changes SET created_at = now() - interval '1 minute' WHERE sale_id = $1`, sale.id);
        return `${sale.id}-stuck`;
      },
    ],
    ['SETTINGS_DIFFER', 'the inventory is paused by hand', 'paused', (sale) => sale.set({ paused: '1' })],
    [
      'SETTINGS_DIFFER',
      'the inventory never got a change',
      'version',
      ({ id }) => sql('UPDATE sales SET version = 2 WHERE id = $1', id),
    ],
    ['INVENTORY_VERSION_AHEAD', 'the inventory has later settings', 'version', (sale) => sale.set({ version: '7' })],
  ];
}
