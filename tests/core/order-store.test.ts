/** Outcomes of orders in the ledger, with a real PostgreSQL. */

import { type AcceptedOrder, newOrderId, type OrderOutcome } from '@flash-sale/core/domain/order.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createOrderStore, type OrderStore, UnknownSaleError } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { beforeAll, describe, expect, test } from 'vitest';
import { times, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
let orders: OrderStore;

beforeAll(() => {
  orders = createOrderStore(world.pool);
});

const order = (saleId: string, changed: Partial<AcceptedOrder> = {}): AcceptedOrder => ({
  id: newOrderId(saleId),
  buyerId: 'ann',
  quantity: 1,
  reservedAt: 1_795_443_500_123,
  requestId: 'r1',
  idempotencyKey: null,
  ...changed,
});

/** In the present epoch, so that nothing is readmitted. */
const confirm = async (saleId: string, batch: readonly AcceptedOrder[]): Promise<OrderOutcome[]> => {
  const never = () => Promise.reject(new Error('asked to readmit'));
  return (await orders.confirm({ saleId, epoch: 1, orders: batch }, never)).outcomes;
};

const sold = async (saleId: string): Promise<number | undefined> =>
  (await createSaleStore(world.pool).find(saleId))?.sold;
const rows = async (saleId: string): Promise<{ id: string; status: string }[]> =>
  (await world.pool.query('SELECT id, status FROM orders WHERE sale_id = $1 ORDER BY id', [saleId])).rows;

test('a batch is confirmed, with the exact amount and the time of the reservation', async () => {
  const sale = await makeSale(world, { flashSalePrice: '0.1' });
  const one = order(sale.id, { quantity: 3, buyerId: 'O’Neill|"x"' });
  expect(await confirm(sale.id, [one])).toEqual([{ id: one.id, status: 'confirmed', fresh: true }]);
  expect(await orders.find(one.id)).toMatchObject({
    saleId: sale.id,
    buyerId: 'O’Neill|"x"',
    quantity: 3,
    unitPrice: '0.1',
    amount: '0.3', // 0.30000000000000004 with floats
    currency: 'USD',
    status: 'confirmed',
    reason: null,
    createdAt: new Date(1_795_443_500_123),
  });
  expect(await sold(sale.id)).toBe(3);
});

test('[trap 14] [trap 15] the same orders again, in the same batch or another, keep their outcome and count once', async () => {
  const sale = await makeSale(world, { units: 2 });
  const [a, b] = [order(sale.id), order(sale.id)];
  await confirm(sale.id, [a, b, a]);
  expect(await confirm(sale.id, [b, a])).toEqual(
    expect.arrayContaining([
      { id: a.id, status: 'confirmed', fresh: false },
      { id: b.id, status: 'confirmed', fresh: false },
    ]),
  );
  expect(await sold(sale.id)).toBe(2);
});

test('[I2] [trap 14] of a batch that the ledger has in part, only the other orders are written and counted', async () => {
  const sale = await makeSale(world, { units: 20 });
  const known = [order(sale.id, { quantity: 2 }), order(sale.id, { quantity: 3 })] as const;
  await confirm(sale.id, known);
  const fresh = [order(sale.id, { quantity: 4 }), order(sale.id, { quantity: 5 })] as const;
  const outcomes = await confirm(sale.id, [known[0], fresh[0], known[1], fresh[1]]);
  const freshIds = outcomes.filter((outcome) => outcome.fresh).map(({ id }) => id);
  expect(freshIds.sort()).toEqual(fresh.map(({ id }) => id).sort());
  expect(outcomes).toHaveLength(4);
  expect(await sold(sale.id)).toBe(14);
  // No room for both of the new ones: what fits is sold, and the known ones keep their outcome.
  const more = [order(sale.id, { quantity: 6 }), order(sale.id, { quantity: 1 })];
  const last = await confirm(sale.id, [...known, ...more]);
  expect(last.filter((outcome) => outcome.fresh).map(({ status }) => status)).toEqual(['confirmed', 'rejected']);
  expect(await sold(sale.id)).toBe(20);
});

test('ten workers that confirm the same job at once count it once', async () => {
  const sale = await makeSale(world, { units: 100 });
  const batch = Array.from({ length: 20 }, () => order(sale.id));
  const outcomes = await times(10, () => confirm(sale.id, batch));
  expect(outcomes.flat().filter((outcome) => outcome.fresh)).toHaveLength(20);
  expect(outcomes.flat().every((outcome) => outcome.status === 'confirmed')).toBe(true);
  expect(await sold(sale.id)).toBe(20);
});

test('batches with the same orders in reverse do not deadlock', async () => {
  const sale = await makeSale(world, { units: 1_000 });
  for (let i = 0; i < 20; i++) {
    const batch = Array.from({ length: 40 }, () => order(sale.id));
    const outcomes = await Promise.all([confirm(sale.id, batch), confirm(sale.id, batch.toReversed())]);
    expect(outcomes.flat().filter((outcome) => outcome.fresh)).toHaveLength(40);
  }
});

describe('[I2] the guard against overselling', () => {
  test('holds even if the inventory is wrong: orders that fit are confirmed, the others rejected', async () => {
    const sale = await makeSale(world, { units: 5 });
    const batch = Array.from({ length: 8 }, () => order(sale.id));
    const outcomes = await confirm(sale.id, batch);
    expect(outcomes.filter((outcome) => outcome.status === 'confirmed')).toHaveLength(5);
    expect(outcomes.filter((outcome) => outcome.status === 'rejected')).toMatchObject(
      Array(3).fill({ reason: 'LEDGER_SOLD_OUT', fresh: true }),
    );
    expect(await sold(sale.id)).toBe(5);
    expect((await rows(sale.id)).filter((row) => row.status === 'confirmed')).toHaveLength(5);
  });

  test('holds under 40 transactions at once', async () => {
    const sale = await makeSale(world, { units: 50 });
    const outcomes = await times(40, () => confirm(sale.id, [order(sale.id), order(sale.id), order(sale.id)]));
    expect(outcomes.flat().filter((outcome) => outcome.status === 'confirmed')).toHaveLength(50);
    expect(await sold(sale.id)).toBe(50);
  });

  test('is also a CHECK of the table', async () => {
    const sale = await makeSale(world, { units: 5 });
    await expect(world.pool.query('UPDATE sales SET sold = 6 WHERE id = $1', [sale.id])).rejects.toThrow(
      'sold_within_allotment',
    );
  });
});

test('[trap 19] one bad order of a batch is rejected, the others are confirmed', async () => {
  const sale = await makeSale(world);
  const bad = order(sale.id, { reservedAt: Number.MAX_VALUE });
  const [good, alsoGood] = [order(sale.id), order(sale.id)];
  const beside = order(sale.id);
  expect(await confirm(sale.id, [beside, bad])).toEqual([{ id: beside.id, status: 'confirmed', fresh: true }]);

  await world.pool.query(`ALTER TABLE orders ADD CONSTRAINT no_evil CHECK (buyer_id <> 'evil' OR status = 'rejected')`);
  const evil = order(sale.id, { buyerId: 'evil' });
  const outcomes = new Map((await confirm(sale.id, [good, evil, alsoGood])).map((outcome) => [outcome.id, outcome]));
  expect(outcomes.get(evil.id)).toMatchObject({ status: 'rejected', reason: 'LEDGER_REFUSED' });
  expect(outcomes.get(good.id)).toMatchObject({ status: 'confirmed' });
  expect(outcomes.get(alsoGood.id)).toMatchObject({ status: 'confirmed' });
  expect(await sold(sale.id)).toBe(3);
});

test('orders of an unknown sale are not decided: this may be the wrong ledger', async () => {
  const stray = order('unknown');
  await expect(confirm('unknown', [stray])).rejects.toThrow(UnknownSaleError);
  expect(await orders.outcomesOf([stray.id])).toEqual([]);
});

test('[I4] a second order under one key is rejected even if Redis lost the key', async () => {
  const sale = await makeSale(world);
  const [first, second] = [order(sale.id, { idempotencyKey: 'k' }), order(sale.id, { idempotencyKey: 'k' })];
  const other = order(sale.id, { idempotencyKey: 'k', buyerId: 'bob' });
  await confirm(sale.id, [first]);
  const outcomes = new Map((await confirm(sale.id, [second, other, first])).map((outcome) => [outcome.id, outcome]));
  expect(outcomes.get(second.id)).toMatchObject({ status: 'rejected', reason: 'DUPLICATE_REQUEST' });
  expect(outcomes.get(other.id)).toMatchObject({ status: 'confirmed' });
  expect(outcomes.get(first.id)).toMatchObject({ status: 'confirmed', fresh: false });
  expect(await sold(sale.id)).toBe(2);
});

describe('rejecting', () => {
  test('[I7] never changes a confirmed order, and confirming never changes a rejected one', async () => {
    const sale = await makeSale(world);
    const [confirmed, rejected] = [order(sale.id), order(sale.id)];
    await confirm(sale.id, [confirmed]);
    const outcomes = await orders.reject(sale.id, [confirmed, rejected], 'UNCONFIRMABLE');
    expect(outcomes).toEqual(
      expect.arrayContaining([
        { id: confirmed.id, status: 'confirmed', fresh: false },
        { id: rejected.id, status: 'rejected', reason: 'UNCONFIRMABLE', fresh: true },
      ]),
    );
    expect(await confirm(sale.id, [rejected])).toEqual([
      { id: rejected.id, status: 'rejected', reason: 'UNCONFIRMABLE', fresh: false },
    ]);
    expect(await sold(sale.id)).toBe(1);
  });

  test('and confirming at the same time: exactly one of them wins', async () => {
    const sale = await makeSale(world, { units: 100 });
    for (let i = 0; i < 20; i++) {
      const one = order(sale.id);
      const [[a], [b]] = await Promise.all([confirm(sale.id, [one]), orders.reject(sale.id, [one], 'UNCONFIRMABLE')]);
      expect(a?.status).toBe(b?.status);
      expect([a?.fresh, b?.fresh].filter(Boolean)).toHaveLength(1);
    }
    const confirmed = (await rows(sale.id)).filter((row) => row.status === 'confirmed').length;
    expect(await sold(sale.id)).toBe(confirmed);
  });
});

describe('the orders of one sale, among sales with similar ids', () => {
  test('are found, all of them and no other', async () => {
    const ids = ['like', 'like-2', 'like-01', 'like_x', 'Like', 'like-like'];
    const epochs = createEpochStore(world.pool);
    for (const id of ids) {
      await makeSale(world, { id });
      await confirm(id, [order(id, { buyerId: `of ${id}` })]);
    }
    for (const id of ids) {
      const found: string[] = [];
      await epochs.read(id, async (source) => {
        for await (const chunk of source.buyers()) found.push(...chunk.map(({ buyerId }) => buyerId));
      });
      expect(found).toEqual([`of ${id}`]);
    }
  });

  test('an id of another sale cannot be written', async () => {
    const sale = await makeSale(world, { id: 'strict' });
    const strange = ['other-01M84FV0GBEWEG3KFY5RHQXVFB', 'strict-2-01M84FV0GBEWEG3KFY5RHQXVFB', 'strict-9', 'strict'];
    for (const id of strange) expect(await confirm(sale.id, [order(sale.id, { id })])).toEqual([]);
    expect(await rows(sale.id)).toEqual([]);
  });
});
