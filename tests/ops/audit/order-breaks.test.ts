/** Breaks of single orders, buyers and jobs, by hand in Redis or PostgreSQL: the audit names that one and no other. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
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

const LONG_AGO_MS = 60_000;

const cases: BreakCase[] = [
  {
    codes: 'ORDER_STUCK',
    when: 'a reservation is old and no job carries it',
    plant: (sale) => sale.reserve('eve', 1, { agoMs: LONG_AGO_MS }),
  },
  {
    codes: 'ORDER_STUCK',
    when: 'a job of an earlier epoch carries an old order that Redis lost',
    async plant(sale) {
      await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
      await sale.set({ epoch: '2' });
      const order = newOrderId(sale.id);
      await sale.addJob([order], { epoch: 1, agoMs: LONG_AGO_MS });
      return order;
    },
  },
  {
    codes: 'OUTCOME_NOT_APPLIED',
    when: 'a confirmed order stays reserved',
    async plant(sale) {
      const order = await sale.reserve('eve', 1, { agoMs: LONG_AGO_MS });
      await sale.confirm(order, 'eve', 1, { agoMs: LONG_AGO_MS });
      return order;
    },
  },
  {
    codes: 'OUTCOME_NOT_APPLIED',
    when: 'a rejected order stays reserved',
    async plant(sale) {
      const order = await sale.reserve('eve', 1, { agoMs: LONG_AGO_MS });
      await sale.reject(order, 'eve');
      return order;
    },
  },
  {
    codes: 'ORDER_DIFFERS',
    when: 'the ledger has the order of another quantity than was reserved',
    async plant(sale) {
      const order = await sale.reserve('eve', 1);
      await sale.reject(order, 'eve', 2);
      return order;
    },
  },
  {
    codes: 'ORDER_LOST',
    when: 'an order key leads to an order that nobody has',
    async plant(sale) {
      const order = newOrderId(sale.id);
      await world.redis.hset(sale.keys.orderKeys, 'eve key', `${order} 1`);
      return order;
    },
  },
  {
    codes: 'ORDER_KEY_WRONG',
    when: 'an order key leads to nothing that is an order',
    async plant(sale) {
      await world.redis.hset(sale.keys.orderKeys, 'eve key', 'nowhere');
      return 'eve key';
    },
  },
  {
    codes: 'ORDER_KEY_WRONG',
    when: "an order key leads to somebody else's order",
    async plant(sale) {
      await world.redis.hset(sale.keys.orderKeys, 'eve key', `${sale.confirmed} 1`);
      return 'eve key';
    },
  },
  {
    codes: 'ORDER_KEY_WRONG',
    when: 'an order key leads to a rejected order beside the confirmed one of the same key',
    async plant(sale) {
      const second = newOrderId(sale.id);
      await sale.reject(second, 'ann');
      await world.redis.hset(sale.keys.orderKeys, 'ann k1', `${second} 1`);
      return 'ann k1';
    },
  },
  {
    codes: 'ORDER_KEY_MISSING',
    when: 'the inventory has forgotten all keys',
    async plant(sale) {
      await world.redis.del(sale.keys.orderKeys);
      return 'ann k1';
    },
  },
  {
    codes: 'KEY_TWICE',
    when: 'two confirmed orders have one key',
    async plant(sale) {
      for (let i = 0; i < 2; i++) {
        const order = await sale.reserve('eve', 1, { key: 'twice' });
        await sale.confirm(order, 'eve', 1, { key: 'twice' });
        await sale.commit(order);
      }
      return 'eve twice';
    },
  },
  {
    codes: 'ORDER_ROW_ILLEGAL',
    when: 'a rejected order has no reason',
    async plant(sale) {
      await world.pool.query('UPDATE orders SET reason = NULL WHERE id = $1', [sale.rejected]);
      return sale.rejected;
    },
  },
  {
    codes: 'ORDER_ROW_ILLEGAL',
    when: 'an order has a status that there is not',
    async plant(sale) {
      await world.pool.query(`UPDATE orders SET status = 'maybe' WHERE id = $1`, [sale.rejected]);
      return sale.rejected;
    },
  },
  {
    codes: 'AMOUNT_WRONG',
    when: 'an amount is not quantity × price',
    async plant(sale) {
      await world.pool.query('UPDATE orders SET amount = amount + 0.01 WHERE id = $1', [sale.confirmed]);
      return sale.confirmed;
    },
  },
  {
    codes: 'AMOUNT_WRONG',
    when: 'a confirmed order has no price',
    async plant(sale) {
      await world.pool.query('UPDATE orders SET unit_price = NULL WHERE id = $1', [sale.confirmed]);
      return sale.confirmed;
    },
  },
  {
    codes: 'BUYER_COUNT_WRONG',
    when: 'the inventory counts a unit too many of a buyer',
    async plant(sale) {
      await world.redis.hincrby(sale.keys.buyers, 'ann', 1);
      return 'ann';
    },
  },
  {
    codes: 'BUYER_COUNT_WRONG',
    when: 'the inventory has forgotten what a buyer holds',
    async plant(sale) {
      await world.redis.hdel(sale.keys.buyers, 'bob');
      return 'bob';
    },
  },
  {
    codes: 'BUYER_COUNT_WRONG',
    when: 'the inventory counts units of somebody who holds none',
    async plant(sale) {
      await world.redis.hset(sale.keys.buyers, 'nobody', 1);
      return 'nobody';
    },
  },
  {
    codes: 'BUYER_OVER_CAP',
    when: 'confirmed orders of a buyer are over the cap',
    async plant(sale) {
      const order = await sale.reserve('bob', 1);
      await sale.confirm(order, 'bob');
      await sale.commit(order);
      return 'bob';
    },
  },
  {
    codes: 'BUYER_OVER_CAP',
    when: 'confirmed and reserved orders of a buyer are over the cap together',
    async plant(sale) {
      await sale.reserve('bob', 1);
      return 'bob';
    },
  },
  {
    codes: 'JOB_WITHOUT_RESERVATION',
    when: 'a job carries an order that nobody reserved',
    async plant(sale) {
      const order = newOrderId(sale.id);
      await sale.addJob([order]);
      return order;
    },
  },
];

test.each(cases)('$codes: $when', (planted) => expectBreak(world, planted));

test('ORDER_STUCK: of a job of an earlier epoch, by the time of its order', async () => {
  const sale = await PlantedSale.make(world);
  await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
  await sale.set({ epoch: '2' });
  const [young, old] = [newOrderId(sale.id), newOrderId(sale.id)];
  const jobs = [
    await sale.addJob([young], { epoch: 1, agoMs: 1_000 }),
    await sale.addJob([old], { epoch: 1, agoMs: LONG_AGO_MS }),
  ];
  const { breaks } = (await auditHere(world, sale.id)).sales[0] as AuditReport['sales'][number];
  expect(breaks.map(({ code, subject }) => [code, subject])).toEqual([['ORDER_STUCK', old]]);
  for (const job of jobs) await sale.removeJob(job);
});

test('JOB_UNREADABLE: rows without the time that theirs count from', async () => {
  const sale = await PlantedSale.make(world);
  const row = [newOrderId(sale.id).slice(sale.id.length + 1), 'cy', 1, Date.now(), 'r'];
  const job = await sale.addRawJob(JSON.stringify({ sale_id: sale.id, epoch: 1, orders: [row] }));
  expect(codesOf(await auditHere(world, sale.id))).toEqual(['JOB_UNREADABLE']);
  await sale.removeJob(job);
});

test('ORDER_KEY_WRONG: not while the worker has still to lead the key of an order that it rejected back to the first one', async () => {
  const sale = await PlantedSale.make(world);
  const second = await sale.reserve('ann', 1, { key: 'k1' });
  await sale.reject(second, 'ann');
  expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
});

test('ORDER_KEY_MISSING: each of many keys is looked for, and a sale without keys has none', async () => {
  const sale = await PlantedSale.make(world, { units: 100_000 });
  const count = 7_000;
  await world.pool.query(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at, idempotency_key)
     SELECT $1 || '-' || lpad(i::text, 26, '0'), $1, 'many' || i, 1, 1, 1, 'USD', 'confirmed', 'r', now() - interval '1 minute', 'a key of ' || i
       FROM generate_series(1, $2) AS i`,
    [sale.id, count],
  );
  await world.pool.query('UPDATE sales SET sold = sold + $2 WHERE id = $1', [sale.id, count]);
  await sale.move({ available: -count, sold: count });
  const numbers = Array.from({ length: count }, (_, i) => i + 1);
  await world.redis.hset(
    sale.keys.orderKeys,
    ...numbers.flatMap((i) => [`many${i} a key of ${i}`, `${sale.id}-${String(i).padStart(26, '0')} 1`]),
  );
  expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  await world.redis.hdel(sale.keys.orderKeys, 'many6789 a key of 6789');
  const { breaks } = (await auditHere(world, sale.id)).sales[0] as AuditReport['sales'][number];
  expect(breaks.map(({ code, subject }) => [code, subject])).toEqual([['ORDER_KEY_MISSING', 'many6789 a key of 6789']]);
});

test('JOB_UNREADABLE: the data of a job is not what the queue carries', async () => {
  const sale = await PlantedSale.make(world);
  const job = await sale.addRawJob('{"sale_id":7}');
  const report = await auditHere(world, sale.id);
  expect(report).toMatchObject({ clean: false, sales: [{ breaks: [] }], queue: { breaks: [{ subject: job }] } });
  expect(codesOf(report)).toEqual(['JOB_UNREADABLE']);
  await sale.removeJob(job);
  expect((await auditHere(world, sale.id)).clean).toBe(true);
});
