/** Answers to a repeated request and to reads of a pending order. No worker runs. */
import { expect, test, vi } from 'vitest';
import { type Answer, useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);

/** Ends an order as a worker would. */
const end = (id: string, saleId: string, status: 'confirmed' | 'rejected'): Promise<unknown> =>
  world.pool.query(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, reason, request_id, created_at)
     VALUES ($1, $2, 'ann', 1, 9, 9, 'USD', $3, $4, 'r', now())`,
    [id, saleId, status, status === 'rejected' ? 'LEDGER_SOLD_OUT' : null],
  );
const toldBy = ({ status, body, headers }: Answer) => [
  status,
  body.status,
  body.replayed,
  headers.get('idempotency-replayed'),
  headers.get('retry-after'),
];

test.each(['confirmed', 'rejected'] as const)('a replay says so, with the present status: %s', async (status) => {
  const sale = await makeSale(world, { units: 10 });
  const order = () => api.order(sale.id, { key: 'k' });
  const first = await order();
  const { order_id: id } = first.body;
  expect(toldBy(first)).toEqual([200, 'accepted', undefined, null, null]);
  expect(toldBy(await order())).toEqual([200, 'pending', true, 'true', '1']);
  await end(id, sale.id, status);
  const again = await order();
  expect(toldBy(again)).toEqual([200, status, true, 'true', null]);
  expect(again.body).toMatchObject({ order_id: id, product_id: sale.id, quantity: 1, remaining: 9 });
  // A loop of retries costs the ledger one read.
  vi.spyOn(api.connections.orders, 'outcomesOf').mockRejectedValue(new Error('asked again'));
  expect(toldBy(await order())).toEqual([200, status, true, 'true', null]);
});

test('a storm of replays asks the ledger once at a time, and each gets its own status', async () => {
  const sale = await makeSale(world, { units: 100 });
  const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
  const order = (key: string) => api.order(sale.id, { buyer: key, key });
  const firsts = await Promise.all(keys.map(order));
  await Promise.all(firsts.slice(0, 50).map(({ body }) => end(body.order_id, sale.id, 'confirmed')));
  const { outcomesOf } = api.connections.orders;
  let [queries, running, most] = [0, 0, 0];
  vi.spyOn(api.connections.orders, 'outcomesOf').mockImplementation(async (ids) => {
    queries++;
    most = Math.max(most, ++running);
    return outcomesOf(ids).finally(() => running--);
  });
  const replays = await Promise.all(keys.map(order));
  expect(replays.map(({ body }) => body.order_id)).toEqual(firsts.map(({ body }) => body.order_id));
  expect(replays.map(({ body }) => body.status)).toEqual(keys.map((_, i) => (i < 50 ? 'confirmed' : 'pending')));
  expect(most).toBe(1);
  expect(queries).toBeLessThan(50);
});

test('a replay whose status cannot be read is accepted, as the first request was', async () => {
  const sale = await makeSale(world);
  const { order_id: id } = (await api.order(sale.id, { key: 'k' })).body;
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  vi.spyOn(api.connections.orders, 'outcomesOf').mockRejectedValue(refused);
  const again = await api.order(sale.id, { key: 'k' });
  expect(toldBy(again)).toEqual([200, 'accepted', true, 'true', null]);
  expect(again.body.order_id).toBe(id);
});

test('a pending order says when to read it again, to its buyer and to operators; a finished one does not', async () => {
  const sale = await makeSale(world);
  const { order_id: id } = (await api.order(sale.id)).body;
  const read = async () => [await api.readOrder(id), await api.admin('GET', `/orders/${id}`)];
  const told = async () => (await read()).map(({ word, headers }) => [word, headers.get('retry-after')]);
  expect(await told()).toEqual([
    ['200 pending', '1'],
    ['200 pending', '1'],
  ]);
  await end(id, sale.id, 'confirmed');
  expect(await told()).toEqual([
    ['200 confirmed', null],
    ['200 confirmed', null],
  ]);
});

test('without a key, an unknown outcome is not retryable and has no Retry-After; with a key it has both', async () => {
  const sale = await makeSale(world);
  const { inventory } = api.connections;
  const { reserve } = inventory;
  inventory.reserve = () => Promise.reject(new Error('Command timed out'));
  const without = await api.order(sale.id);
  const keyed = await api.order(sale.id, { key: 'k' });
  inventory.reserve = reserve;
  expect([without.word, without.body.retryable, without.headers.get('retry-after')]).toEqual([
    '503 OUTCOME_UNKNOWN',
    false,
    null,
  ]);
  expect([keyed.body.retryable, keyed.headers.get('retry-after')]).toEqual([true, '1']);
});
