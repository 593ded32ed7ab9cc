/** Every violation, planted in Redis or PostgreSQL: the audit reports that one and no other. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { allowAnyRow, auditHere, codesOf } from '../../support/audited.ts';
import { PlantedSale } from '../../support/planted-sale.ts';
import { openWorld, type World } from '../../support/world.ts';
import { violationCases } from './violation-cases.ts';

let world: World;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  await allowAnyRow(world);
});
afterAll(() => world.close());

test.each(violationCases(() => world))('%s: %s', async (codes, _when, subject, plant) => {
  const sale = await PlantedSale.make(world, { units: 10, perBuyerLimit: 2 });
  expect(await auditHere(world, sale.id)).toMatchObject({
    clean: true,
    sales: [{ inventory: 'open', violations: [] }],
  });
  const planted = await plant(sale);
  const report = await auditHere(world, sale.id);
  expect(report.clean).toBe(false);
  expect(codesOf(report)).toEqual(codes.split(' '));
  const found = report.sales[0]?.violations.find(({ code }) => code === codes.split(' ')[0]);
  expect(found?.subject).toBe(subject || planted);
  expect(found?.detail).toMatch(/^[A-Z\d].*\.$/);
});

test.each([
  ['no batch of orders', () => '{"sale_id":7}'],
  ['no JSON', () => 'half a jo'],
])('JOB_UNREADABLE: the data of a job is %s', async (_what, data) => {
  const sale = await PlantedSale.make(world);
  const job = await sale.addRawJob(data());
  const report = await auditHere(world, sale.id);
  expect(report).toMatchObject({
    clean: false,
    sales: [{ violations: [] }],
    queue: { violations: [{ subject: job }] },
  });
  expect(codesOf(report)).toEqual(['JOB_UNREADABLE']);
  await sale.removeJob(job);
  expect((await auditHere(world, sale.id)).clean).toBe(true);
});

test('UNITS_NOT_COUNTED: not while a job of an earlier epoch carries the order', async () => {
  const sale = await PlantedSale.make(world, { perBuyerLimit: 2 });
  const order = newOrderId(sale.id);
  await sale.confirm(order, 'eve');
  await sale.nextEpoch();
  const job = await sale.addJob([order], { epoch: 1 });
  expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  await sale.removeJob(job);
  expect(codesOf(await auditHere(world, sale.id))).toEqual(['BUYER_COUNT_WRONG', 'UNITS_NOT_COUNTED']);
});

test('ORDER_KEY_WRONG: not while the duplicate of a key is still reserved', async () => {
  const sale = await PlantedSale.make(world);
  await sale.reject(await sale.reserve('ann', 1, { key: 'k1' }), 'ann');
  expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
});

test('ORDER_KEY_MISSING: one key of thousands', async () => {
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
  const { sales } = await auditHere(world, sale.id);
  expect(sales[0]?.violations).toMatchObject([{ code: 'ORDER_KEY_MISSING', subject: 'many6789 a key of 6789' }]);
});
