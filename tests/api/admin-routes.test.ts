/** The operator's API, over real HTTP. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { ADMIN_TOKEN, type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let worker: { stop(): Promise<void> };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  [api, worker] = await Promise.all([startApi(world), startWorkerHere(world)]);
});
afterAll(async () => {
  await Promise.all([api.close(), worker.stop()]);
  await world.close();
});

const bearer = { authorization: `Bearer ${ADMIN_TOKEN}` };

async function admin(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = bearer,
): Promise<{ status: number; body: AnyJson }> {
  const response = await fetch(`${api.url}/api/admin${path}`, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.json() };
}

let count = 0;
const newSale = (changed: Record<string, unknown> = {}): Record<string, unknown> => ({
  product_id: `admin-sale-${count++}`,
  name: 'Thing',
  original_price: 199.99,
  flash_sale_price: '0.30',
  units: 10,
  starts_at: new Date(Date.now() - 1_000).toISOString(),
  ends_at: new Date(Date.now() + 60_000).toISOString(),
  ...changed,
});
async function createSale(changed: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
  const sale = newSale(changed);
  expect((await admin('POST', '/sales', sale)).status).toBe(201);
  return sale;
}
const order = (saleId: unknown): Promise<Response> =>
  fetch(`${api.url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers: { 'x-user-id': 'ann' } });

describe('[trap 8] only the operator’s token', () => {
  test.each([
    ['nothing', {}],
    ['another token', { authorization: 'Bearer wrong-token-wrong-token' }],
    ['a token that begins like it', { authorization: `Bearer ${ADMIN_TOKEN.slice(0, -1)}` }],
    ['a longer one', { authorization: `Bearer ${ADMIN_TOKEN}x` }],
    ['another case', { authorization: `Bearer ${ADMIN_TOKEN.toUpperCase()}` }],
    ['two tokens', { authorization: `Bearer ${ADMIN_TOKEN}, Bearer x` }],
    ['no scheme', { authorization: ADMIN_TOKEN }],
    ['another scheme', { authorization: `Digest ${ADMIN_TOKEN}` }],
    ['undefined', { authorization: 'Bearer undefined' }],
    [
      'the login of a browser, which is for the board only',
      { authorization: `Basic ${Buffer.from(`admin:${ADMIN_TOKEN}`).toString('base64')}` },
    ],
    ['the name of a buyer', { 'x-user-id': 'admin' }],
  ] as [string, Record<string, string>][])(
    'with %s: 401 on every route, and nothing happens',
    async (_what, headers) => {
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
      ] as const) {
        const answer = await admin(method, path, body, headers);
        expect([answer.status, answer.body.code]).toEqual([401, 'OPERATOR_REQUIRED']);
      }
      expect((await admin('GET', `/sales/${id}`)).status).toBe(404);
    },
  );
});

describe('a sale', () => {
  test('has exact prices, and can be ordered from at once', async () => {
    const sale = newSale();
    const made = await admin('POST', '/sales', sale);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      original_price: '199.99',
      flash_sale_price: '0.3',
      currency: 'USD',
      allotment: 10,
      available: 10,
      reserved: 0,
      sold: 0,
      state: 'active',
      per_buyer_limit: 0,
    });
    expect((await order(sale.product_id)).status).toBe(200);
  });

  test('that exists is left as it is: 409', async () => {
    const sale = await createSale();
    await order(sale.product_id);
    const again = await admin('POST', '/sales', { ...sale, units: 500 });
    expect([again.status, again.body.code]).toEqual([409, 'SALE_EXISTS']);
    expect((await admin('GET', `/sales/${sale.product_id}`)).body).toMatchObject({ allotment: 10, available: 9 });
  });

  test('created 20 times at once is created once', async () => {
    const sale = newSale();
    const made = await Promise.all(Array.from({ length: 20 }, () => admin('POST', '/sales', sale)));
    expect(made.filter((one) => one.status === 201)).toHaveLength(1);
    expect(made.filter((one) => one.status === 409)).toHaveLength(19);
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
    [{ currency: 'usd' }],
    [{ starts_at: 'tomorrow' }],
    [{ starts_at: '2026-02-30T00:00:00Z' }],
    [{ ends_at: '2020-01-01T00:00:00Z' }],
    [{ per_buyer_limit: -1 }],
    [{ name: '' }],
    [{ name: 'a\u0000b' }],
    [{ stock: 5 }],
  ])('with %j is refused', async (changed) => {
    const answer = await admin('POST', '/sales', newSale(changed));
    expect([answer.status, answer.body.code]).toEqual([400, 'INVALID_REQUEST']);
  });

  test('can be paused and resumed', async () => {
    const sale = await createSale();
    expect((await admin('POST', `/sales/${sale.product_id}/pause`)).body.state).toBe('paused');
    expect(await (await order(sale.product_id)).json()).toMatchObject({
      status: 400,
      code: 'SALE_PAUSED',
      retryable: true,
    });
    expect((await admin('POST', `/sales/${sale.product_id}/resume`)).body.state).toBe('active');
    expect((await order(sale.product_id)).status).toBe(200);
  });

  test('can be moved in time', async () => {
    const sale = newSale({
      starts_at: new Date(Date.now() + 60_000).toISOString(),
      ends_at: new Date(Date.now() + 90_000).toISOString(),
    });
    await admin('POST', '/sales', sale);
    expect((await order(sale.product_id)).status).toBe(400);
    const window = { starts_at: new Date(Date.now() - 1_000).toISOString(), ends_at: sale.ends_at };
    expect((await admin('POST', `/sales/${sale.product_id}/window`, window)).body.state).toBe('active');
    expect((await order(sale.product_id)).status).toBe(200);
    const backwards = { starts_at: sale.ends_at, ends_at: window.starts_at };
    expect((await admin('POST', `/sales/${sale.product_id}/window`, backwards)).status).toBe(400);
  });

  test('is in the list of all, in whatever state', async () => {
    const paused = newSale();
    await admin('POST', '/sales', paused);
    await admin('POST', `/sales/${paused.product_id}/pause`);
    const { status, body } = await admin('GET', '/sales');
    expect(status).toBe(200);
    expect(body.sales[0]).toMatchObject({ product_id: paused.product_id, state: 'paused', allotment: 10, sold: 0 });
    expect(body.count).toBe(body.sales.length);
  });

  test('that does not exist: 404 on every route', async () => {
    for (const [method, path, body] of [
      ['GET', '/sales/nope', undefined],
      ['POST', '/sales/nope/pause', undefined],
      ['GET', '/sales/%00', undefined],
      ['POST', '/sales/a%7Cb/pause', undefined],
      ['POST', '/sales/nope/stock', { delta: 1, reason: 'x' }],
      ['POST', '/sales/nope/window', { starts_at: '2026-01-01T00:00:00Z', ends_at: '2026-01-02T00:00:00Z' }],
    ] as const) {
      const answer = await admin(method, path, body);
      expect([answer.status, answer.body.code], path).toEqual([404, 'SALE_NOT_FOUND']);
    }
  });
});

describe('stock', () => {
  test('[trap 25] added to a sale that is sold out can be bought within a second', async () => {
    const sale = await createSale({ units: 1 });
    await order(sale.product_id);
    expect(await (await order(sale.product_id)).json()).toMatchObject({ code: 'SOLD_OUT' });
    const changed = await admin('POST', `/sales/${sale.product_id}/stock`, { delta: 2, reason: 'found two more' });
    expect(changed.body).toMatchObject({ allotment: 3, available: 2, ledger: { allotment: 3 } });
    expect((await order(sale.product_id)).status).toBe(200);
  });

  test('that is reserved or sold cannot be withdrawn: 409, with what could be', async () => {
    const sale = await createSale({ units: 3 });
    await order(sale.product_id);
    const refused = await admin('POST', `/sales/${sale.product_id}/stock`, { delta: -3, reason: 'broken' });
    expect([refused.status, refused.body.code, refused.body.available]).toEqual([409, 'UNITS_PROMISED', 2]);
    expect(
      (await admin('POST', `/sales/${sale.product_id}/stock`, { delta: -2, reason: 'broken' })).body,
    ).toMatchObject({ allotment: 1, available: 0 });
  });

  test.each([
    { delta: 0, reason: 'x' },
    { delta: 1 },
    { delta: 1, reason: '' },
    { delta: 1.5, reason: 'x' },
    { delta: 9e9, reason: 'x' },
  ])('%j is refused', async (body) => {
    const sale = await createSale();
    expect((await admin('POST', `/sales/${sale.product_id}/stock`, body)).status).toBe(400);
  });

  test('with the same change_id is changed once; the id of another change is refused', async () => {
    const sale = await createSale();
    const path = `/sales/${sale.product_id}/stock`;
    const change = { delta: 5, reason: 'more came', change_id: `delivery-${sale.product_id}` };
    const answers = await Promise.all(Array.from({ length: 10 }, () => admin('POST', path, change)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(10).fill(200));
    expect((await admin('GET', `/sales/${sale.product_id}`)).body).toMatchObject({
      allotment: 15,
      available: 15,
      ledger: { allotment: 15 },
    });
    const other = await admin('POST', path, { ...change, delta: 6 });
    expect([other.status, other.body.code]).toEqual([409, 'CHANGE_ID_TAKEN']);
  });

  test('that the inventory did not answer is recorded and carried out once; a retry with its change_id is safe', async () => {
    const sale = await createSale();
    const { inventory } = api.connections;
    const { adjust } = inventory;
    inventory.adjust = () => Promise.reject(new Error('Command timed out'));
    const answer = await admin('POST', `/sales/${sale.product_id}/stock`, { delta: 5, reason: 'more came' });
    inventory.adjust = adjust;
    expect(answer.body).toMatchObject({
      status: 503,
      code: 'STOCK_CHANGE_PENDING',
      retryable: false,
      change_id: expect.any(String),
    });
    const again = await admin('POST', `/sales/${sale.product_id}/stock`, {
      delta: 5,
      reason: 'more came',
      change_id: answer.body.change_id,
    });
    expect(again.body).toMatchObject({ allotment: 15, available: 15, ledger: { allotment: 15 } });
  });

  test('that was refused stays refused under its change_id, also after Redis lost it', async () => {
    const sale = await createSale();
    const path = `/sales/${sale.product_id}/stock`;
    const change = { delta: -11, reason: 'broken', change_id: `break-${sale.product_id}` };
    expect((await admin('POST', path, change)).status).toBe(409);
    await world.redis.del(world.keys.sale(String(sale.product_id)).stockChanges);
    await admin('POST', path, { delta: 5, reason: 'more came' });
    expect((await admin('POST', path, change)).body).toMatchObject({
      status: 409,
      code: 'UNITS_PROMISED',
      available: 15,
    });
    expect((await admin('GET', `/sales/${sale.product_id}`)).body).toMatchObject({ allotment: 15, available: 15 });
  });

  test('above the bound of the system: 409', async () => {
    const sale = await createSale();
    const answer = await admin('POST', `/sales/${sale.product_id}/stock`, { delta: 2_000_000, reason: 'x' });
    expect([answer.status, answer.body.code]).toEqual([409, 'TOO_MANY_UNITS']);
  });

  test('changed by many operators during a crowd is conserved', async () => {
    const sale = await createSale({ units: 50 });
    const changes = Array.from({ length: 20 }, (_, i) =>
      admin('POST', `/sales/${sale.product_id}/stock`, { delta: i % 2 ? -4 : 3, reason: 'churn' }),
    );
    const orders = Array.from({ length: 60 }, () => order(sale.product_id));
    await Promise.all([...changes, ...orders]);
    const { body } = await admin('GET', `/sales/${sale.product_id}`);
    expect(body.available).toBeGreaterThanOrEqual(0);
    expect(body.available + body.reserved + body.sold).toBe(body.allotment);
    expect(body.ledger.allotment).toBe(body.allotment);
  });
});

test('operators’ actions are recorded with actor, time, before and after', async () => {
  const sale = await createSale();
  await admin('POST', `/sales/${sale.product_id}/pause`, undefined, { ...bearer, 'x-request-id': 'op-1' });
  await admin('POST', `/sales/${sale.product_id}/stock`, { delta: 4, reason: 'more came' });
  const { rows } = await world.pool.query('SELECT * FROM operator_actions WHERE sale_id = $1 ORDER BY id', [
    sale.product_id,
  ]);
  expect(rows).toMatchObject([
    { action: 'create', actor: 'admin from 127.0.0.1', before: null, after: { allotment: 10 } },
    { action: 'pause', before: { paused: false }, after: { paused: true }, request_id: 'op-1' },
    { action: 'change_stock', before: { allotment: 10 }, after: { allotment: 14, delta: 4 }, reason: 'more came' },
  ]);
  expect(Date.now() - rows[0].at.getTime()).toBeLessThan(10_000);
});
