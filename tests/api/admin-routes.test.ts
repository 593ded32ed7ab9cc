/** The operator's API, over real HTTP. */
import { describe, expect, test } from 'vitest';
import { BEARER, LOGIN, times, useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { ADMIN_TOKEN } from '../support/running-system.ts';

const world = useWorld();
const api = useApi(world);
useWorker(world);

let count = 0;
const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
const newSale = (changed: Record<string, unknown> = {}) => ({
  product_id: `admin-sale-${count++}`,
  name: 'Thing',
  original_price: 199.99,
  flash_sale_price: '0.30',
  currency: 'USD',
  units: 10,
  starts_at: at(-1_000),
  ends_at: at(60_000),
  ...changed,
});
/** @returns the id of a new sale */
async function createSale(changed: Record<string, unknown> = {}): Promise<string> {
  const sale = newSale(changed);
  expect((await api.admin('POST', '/sales', sale)).status).toBe(201);
  return sale.product_id;
}
const read = async (id: string) => (await api.admin('GET', `/sales/${id}`)).body;
const operate = (id: string, command: string, body?: object) => api.admin('POST', `/sales/${id}/${command}`, body);
const changeStock = (id: string, delta: number, more: object = {}) =>
  operate(id, 'stock', { delta, reason: 'counted again', ...more });

test.each<[string, Record<string, string>]>([
  ['nothing', {}],
  ['another token', { authorization: 'Bearer wrong-token-wrong-token' }],
  ['a token that begins like it', { authorization: `Bearer ${ADMIN_TOKEN.slice(0, -1)}` }],
  ['a longer token', { authorization: `Bearer ${ADMIN_TOKEN}x` }],
  ['another case', { authorization: `Bearer ${ADMIN_TOKEN.toUpperCase()}` }],
  ['two tokens', { authorization: `Bearer ${ADMIN_TOKEN}, Bearer x` }],
  ['no scheme', { authorization: ADMIN_TOKEN }],
  ['another scheme', { authorization: `Digest ${ADMIN_TOKEN}` }],
  ['undefined', { authorization: 'Bearer undefined' }],
  ["a browser's login, which is for the board only", LOGIN],
  ['the name of a buyer', { 'x-user-id': 'admin' }],
])('[trap 8] %s instead of the operator’s token: 401 on every route, and nothing changes', async (_what, headers) => {
  const sale = newSale();
  const id = sale.product_id;
  for (const [method, path, body] of [
    ['POST', '/sales', sale],
    ['GET', '/sales', undefined],
    ['GET', `/sales/${id}`, undefined],
    ['POST', `/sales/${id}/pause`, undefined],
    ['POST', `/sales/${id}/resume`, undefined],
    ['POST', `/sales/${id}/window`, {}],
    ['POST', `/sales/${id}/stock`, { delta: 5, reason: 'x' }],
  ] as const)
    expect((await api.admin(method, path, body, headers)).word).toBe('401 OPERATOR_REQUIRED');
  expect((await api.admin('GET', `/sales/${id}`)).status).toBe(404);
});

describe('a sale', () => {
  test('has exact prices, and can be ordered from at once', async () => {
    const sale = newSale();
    const made = await api.admin('POST', '/sales', sale);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      original_price: '199.99',
      flash_sale_price: '0.30',
      currency: 'USD',
      allotment: 10,
      available: 10,
      reserved: 0,
      sold: 0,
      state: 'active',
      per_buyer_limit: 0,
    });
    expect((await api.order(sale.product_id)).status).toBe(200);
    const [highest, exotic] = ['999999999.9999', { currency: 'CLF', allow: ['unknown_currency'] }];
    const id = await createSale({ ...exotic, original_price: highest, flash_sale_price: Number(highest) });
    expect(await read(id)).toMatchObject({ original_price: highest, flash_sale_price: highest });
  });

  test('is created once by 20 calls at once, and never created again', async () => {
    const sale = newSale();
    const made = await times(20, () => api.admin('POST', '/sales', sale));
    expect(made.filter((one) => one.status === 201)).toHaveLength(1);
    expect(made.filter((one) => one.word === '409 SALE_EXISTS')).toHaveLength(19);
    await api.order(sale.product_id);
    expect((await api.admin('POST', '/sales', { ...sale, units: 500 })).word).toBe('409 SALE_EXISTS');
    expect(await read(sale.product_id)).toMatchObject({ allotment: 10, available: 9 });
  });

  test.each([
    [{ product_id: 'a b' }],
    [{ product_id: '{x}' }],
    [{ product_id: '' }],
    [{ units: 0 }],
    [{ units: '10' }],
    [{ units: 2_000_001 }],
    [{ original_price: -1 }],
    [{ original_price: '1e3' }],
    [{ flash_sale_price: '1.23456' }],
    [{ flash_sale_price: 0.1 + 0.2 }],
    [{ original_price: '01' }],
    [{ original_price: '1000000000' }],
    [{ currency: 'usd' }],
    [{ starts_at: 'tomorrow' }],
    [{ starts_at: '2026-02-30T00:00:00Z' }],
    [{ ends_at: '2020-01-01T00:00:00Z' }],
    [{ per_buyer_limit: -1 }],
    [{ name: '' }],
    [{ name: 'a\u0000b' }],
    [{ name: ' \u00a0\u200b\u3000' }],
    [{ currency: undefined }],
    [{ stock: 5 }],
  ])('with %j is refused', async (changed) => {
    expect((await api.admin('POST', '/sales', newSale(changed))).word).toBe('400 INVALID_REQUEST');
  });

  test('can be paused and resumed', async () => {
    const id = await createSale();
    expect((await operate(id, 'pause')).body.state).toBe('paused');
    expect((await api.order(id)).body).toMatchObject({ status: 400, code: 'SALE_PAUSED', retryable: true });
    expect((await operate(id, 'resume')).body.state).toBe('active');
    expect((await api.order(id)).status).toBe(200);
  });

  test('can be moved in time', async () => {
    const [soon, later] = [at(60_000), at(90_000)];
    const id = await createSale({ starts_at: soon, ends_at: later });
    expect((await api.order(id)).status).toBe(400);
    const window = { starts_at: at(-1_000), ends_at: later };
    expect((await operate(id, 'window', window)).body.state).toBe('active');
    expect((await api.order(id)).status).toBe(200);
    expect((await operate(id, 'window', { starts_at: later, ends_at: window.starts_at })).status).toBe(400);
  });

  test('is in the list of all sales, whatever its state', async () => {
    const id = await createSale();
    await operate(id, 'pause');
    const { status, body } = await api.admin('GET', '/sales');
    expect(status).toBe(200);
    expect(body.sales[0]).toMatchObject({ product_id: id, state: 'paused', allotment: 10, sold: 0 });
    expect(body.count).toBe(body.sales.length);
  });

  test('that does not exist is a 404 on every route', async () => {
    for (const [method, path, body] of [
      ['GET', '/sales/nope', undefined],
      ['POST', '/sales/nope/pause', undefined],
      ['GET', '/sales/%00', undefined],
      ['POST', '/sales/a%7Cb/pause', undefined],
      ['POST', '/sales/nope/stock', { delta: 1, reason: 'x' }],
      ['POST', '/sales/nope/window', { starts_at: '2126-01-01T00:00:00Z', ends_at: '2126-01-02T00:00:00Z' }],
    ] as const)
      expect((await api.admin(method, path, body)).word, path).toBe('404 SALE_NOT_FOUND');
  });
});

describe('stock', () => {
  test('[trap 25] units added to a sold-out sale can be bought within a second', async () => {
    const id = await createSale({ units: 1 });
    await api.order(id);
    expect((await api.order(id)).word).toBe('400 SOLD_OUT');
    const changed = await changeStock(id, 2);
    expect(changed.body).toMatchObject({ allotment: 3, available: 2, ledger: { allotment: 3 } });
    expect((await api.order(id)).status).toBe(200);
  });

  test('reserved and sold units cannot be withdrawn: 409 names what could be', async () => {
    const id = await createSale({ units: 3 });
    await api.order(id);
    const refused = await changeStock(id, -3);
    expect([refused.word, refused.body.available]).toEqual(['409 UNITS_PROMISED', 2]);
    expect(refused.body.detail).toBe('The change would withdraw 3 units, and 2 were free. Nothing was changed.');
    expect((await changeStock(id, -2)).body).toMatchObject({ allotment: 1, available: 0 });
    expect((await changeStock(id, 2_000_000)).word).toBe('409 TOO_MANY_UNITS');
  });

  test.each([
    { delta: 0, reason: 'x' },
    { delta: 1 },
    { delta: 1, reason: '' },
    { delta: 1, reason: ' \t' },
    { delta: 1.5, reason: 'x' },
    { delta: 9e9, reason: 'x' },
  ])('the change %j is refused', async (body) => {
    expect((await operate(await createSale(), 'stock', body)).status).toBe(400);
  });

  test('changes once per change_id; the id of another change is refused', async () => {
    const id = await createSale();
    const change = { change_id: `delivery-${id}` };
    const answers = await times(10, () => changeStock(id, 5, change));
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(200));
    expect(await read(id)).toMatchObject({ allotment: 15, available: 15, ledger: { allotment: 15 } });
    expect((await changeStock(id, 6, change)).word).toBe('409 CHANGE_ID_TAKEN');
  });

  test('a change that the inventory did not answer is recorded; a retry with its change_id is safe', async () => {
    const id = await createSale();
    const { inventory } = api.connections;
    const { adjust } = inventory;
    inventory.adjust = () => Promise.reject(new Error('Command timed out'));
    const { body } = await changeStock(id, 5);
    inventory.adjust = adjust;
    expect(body).toMatchObject({ status: 503, code: 'STOCK_CHANGE_PENDING', retryable: false });
    expect(body.change_id).toEqual(expect.any(String));
    const again = await changeStock(id, 5, { change_id: body.change_id });
    expect(again.body).toMatchObject({ allotment: 15, available: 15, ledger: { allotment: 15 } });
  });

  test('a refused change stays refused under its change_id, even if Redis lost it', async () => {
    const id = await createSale();
    const change = { change_id: `break-${id}` };
    expect((await changeStock(id, -11, change)).status).toBe(409);
    await world.redis.del(world.keys.sale(id).stockChanges);
    await changeStock(id, 5);
    const again = await changeStock(id, -11, change);
    expect(again.body).toMatchObject({ status: 409, code: 'UNITS_PROMISED', available: 15 });
    expect(await read(id)).toMatchObject({ allotment: 15, available: 15 });
  });

  test('is conserved while many operators change it during a crowd', async () => {
    const id = await createSale({ units: 50 });
    await Promise.all([times(20, (i) => changeStock(id, i % 2 ? -4 : 3)), times(60, () => api.order(id))]);
    const { available, reserved, sold, allotment, ledger } = await read(id);
    expect(available).toBeGreaterThanOrEqual(0);
    expect(available + reserved + sold).toBe(allotment);
    expect(ledger.allotment).toBe(allotment);
  });
});

test('an action of an operator that changes something is recorded with actor, time, before and after', async () => {
  const id = await createSale();
  await api.admin('POST', `/sales/${id}/pause`, undefined, { ...BEARER, 'x-request-id': 'op-1' });
  await operate(id, 'pause');
  await operate(id, 'stock', { delta: 4, reason: 'more came' });
  const { rows } = await world.pool.query('SELECT * FROM operator_actions WHERE sale_id = $1 ORDER BY id', [id]);
  expect(rows).toMatchObject([
    { action: 'create', actor: 'admin from 127.0.0.1', before: null, after: { allotment: 10 } },
    { action: 'pause', before: { paused: false }, after: { paused: true }, request_id: 'op-1' },
    { action: 'change_stock', before: { allotment: 10 }, after: { allotment: 14, delta: 4 }, reason: 'more came' },
  ]);
  expect(Date.now() - rows[0].at.getTime()).toBeLessThan(10_000);
});
