/** POST …/order and GET /api/orders/…: the contract of the source document, over real HTTP. */

import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale, reservationText } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

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

interface Answer {
  status: number;
  headers: Headers;
  body: AnyJson;
}

async function call(path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`${api.url}${path}`, init);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const order = (
  saleId: string,
  body?: unknown,
  headers: Record<string, string> = { 'x-user-id': 'ann' },
): Promise<Answer> =>
  call(`/api/flash-sales/${saleId}/order`, {
    method: 'POST',
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });

describe('an order', () => {
  test('is accepted, pending, and then confirmed in the ledger with the amount', async () => {
    const sale = await makeSale(world);
    const { status, body } = await order(sale.id, { quantity: 2 });
    expect(status).toBe(200);
    expect(body).toEqual({
      order_id: expect.stringMatching(`^${sale.id}-[0-9A-Z]{26}$`),
      status: 'accepted',
      product_id: sale.id,
      quantity: 2,
      remaining: 8,
    });
    const seen = new Set<string>();
    await eventually('the order is confirmed', 5_000, async () => {
      const read = await call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': 'ann' } });
      expect(read.status).toBe(200);
      seen.add(read.body.status);
      return read.body.status === 'confirmed';
    });
    expect([...seen].filter((state) => state !== 'pending')).toEqual(['confirmed']);
    const { body: read } = await call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': 'ann' } });
    expect(read).toMatchObject({
      order_id: body.order_id,
      product_id: sale.id,
      quantity: 2,
      unit_price: 99.99,
      amount: 199.98,
      currency: 'USD',
    });
    const { rows } = await world.pool.query('SELECT buyer_id, quantity, status FROM orders WHERE id = $1', [
      body.order_id,
    ]);
    expect(rows).toEqual([{ buyer_id: 'ann', quantity: 2, status: 'confirmed' }]);
  });

  test.each([
    ['no body', undefined, {}],
    ['an empty body with a JSON content type', '', { 'content-type': 'application/json' }],
    ['an empty object', {}, {}],
    ['a type with a charset', '', { 'content-type': 'application/json; charset=utf-8' }],
  ])('with %s means one unit', async (_what, body, headers) => {
    const sale = await makeSale(world);
    const answer = await order(sale.id, body, { 'x-user-id': 'ann', ...headers });
    expect(answer.body).toMatchObject({ status: 'accepted', quantity: 1 });
  });

  test.each(['0', '-1', '1.5', '"1"', '"1e3"', 'null', 'NaN', '1e400', '99999999999999999999', '1001', '[1]', 'true'])(
    '[trap 4] with quantity %s is refused and takes nothing',
    async (quantity) => {
      const sale = await makeSale(world);
      const { status, body } = await order(sale.id, `{"quantity":${quantity}}`);
      expect([status, body.code]).toEqual([400, 'INVALID_REQUEST']);
      expect((await api.connections.inventory.read(sale.id)).numbers?.available).toBe(10);
    },
  );

  test.each([
    ['{', 400, 'INVALID_REQUEST'],
    ['[]', 400, 'INVALID_REQUEST'],
    ['"x"', 400, 'INVALID_REQUEST'],
    ['{"quantity":1,"price":0}', 400, 'INVALID_REQUEST'],
    ['{"__proto__":{"x":1}}', 400, 'INVALID_REQUEST'],
    [`{"quantity":1,"x":"${'a'.repeat(20_000)}"}`, 413, 'BODY_TOO_LARGE'],
  ])('with the body %.30s is refused', async (body, status, code) => {
    const sale = await makeSale(world);
    const answer = await order(sale.id, body);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });

  test('with a form body is refused with 415', async () => {
    const sale = await makeSale(world);
    const answer = await order(sale.id, 'quantity=1', {
      'x-user-id': 'ann',
      'content-type': 'application/x-www-form-urlencoded',
    });
    expect([answer.status, answer.body.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
  });
});

describe('who is buying', () => {
  test('no buyer: 401', async () => {
    const sale = await makeSale(world);
    for (const headers of [{}, { 'x-user-id': '' }] as Record<string, string>[]) {
      const { status, body } = await order(sale.id, undefined, headers);
      expect([status, body.code]).toEqual([401, 'BUYER_REQUIRED']);
    }
    expect((await call('/api/orders/x')).status).toBe(401);
  });

  test('an invalid buyer id: 400', async () => {
    const sale = await makeSale(world);
    for (const id of ['a b', 'x'.repeat(129), 'tab\tbed', 'caf\u00e9']) {
      const { status, body } = await order(sale.id, undefined, { 'x-user-id': id });
      expect([status, body.code]).toEqual([400, 'INVALID_BUYER']);
    }
  });

  test('ids with the characters of keys and records stay apart', async () => {
    const sale = await makeSale(world, { perBuyerLimit: 1 });
    for (const id of ['a|b', '{x}', 'a:b', '*', 'a|1|b', '%00', '"']) {
      const { body } = await order(sale.id, undefined, { 'x-user-id': id });
      expect(body.status, id).toBe('accepted');
      await eventually(`the order of ${id} is confirmed`, 5_000, async () => {
        const read = await call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': id } });
        return read.body.status === 'confirmed';
      });
      expect((await order(sale.id, undefined, { 'x-user-id': id })).body.code).toBe('BUYER_LIMIT');
    }
  });

  test("[I10] [trap 27] another buyer's order is a 404, whether pending or confirmed", async () => {
    const sale = await makeSale(world);
    const { body } = await order(sale.id);
    const asOther = (name = 'bob') => call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': name } });
    expect((await asOther()).body).toMatchObject({ status: 404, code: 'ORDER_NOT_FOUND' });
    await eventually('the order is confirmed', 5_000, async () => {
      const read = await call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': 'ann' } });
      return read.body.status === 'confirmed';
    });
    const { body: missing } = await call(`/api/orders/${sale.id}-0`, { headers: { 'x-user-id': 'ann' } });
    for (const name of ['bob', 'Ann', 'ANN', 'ann.', 'ann*', 'an', 'ann1', '%61nn', 'admin']) {
      const { status, code, detail } = (await asOther(name)).body;
      expect([status, code, detail], name).toEqual([404, 'ORDER_NOT_FOUND', missing.detail]);
    }
    for (const id of [
      'nonsense',
      `${sale.id}-00000000000000000000000000`,
      'nobody-00000000000000000000000000',
      '..%2f..',
      'x'.repeat(90),
    ]) {
      expect((await call(`/api/orders/${id}`, { headers: { 'x-user-id': 'ann' } })).status).toBe(404);
    }
  });
});

test('[I7] [trap 13] a confirmed order is never pending again, whatever the inventory has', async () => {
  const sale = await makeSale(world);
  const { body } = await order(sale.id);
  const read = () => call(`/api/orders/${body.order_id}`, { headers: { 'x-user-id': 'ann' } });
  await eventually('it is confirmed', 5_000, async () => (await read()).body.status === 'confirmed');
  // A Redis that lost its last second has the reservation again.
  await world.redis.hset(world.keys.sale(sale.id).reservations, body.order_id, reservationText(Date.now()));
  expect((await read()).body.status).toBe('confirmed');
});

describe('refusals say why, as problem+json', () => {
  test('each with its code, whether trying again can help, and a request id', async () => {
    const now = Date.now();
    const early = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
    const late = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 1_000 });
    const small = await makeSale(world, { units: 1 });
    const capped = await makeSale(world, { perBuyerLimit: 1 });
    await order(capped.id);
    expect((await order(small.id, { quantity: 2 })).body).toMatchObject({
      status: 400,
      code: 'NOT_ENOUGH_UNITS',
      available: 1,
    });
    await order(small.id);
    const cases: [string, string, boolean][] = [
      [early.id, 'SALE_NOT_OPEN', true],
      [late.id, 'SALE_ENDED', false],
      [small.id, 'SOLD_OUT', true],
      [capped.id, 'BUYER_LIMIT', false],
    ];
    for (const [saleId, code, retryable] of cases) {
      const { status, headers, body } = await order(saleId);
      expect(status).toBe(400);
      expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      expect(body).toMatchObject({
        type: `urn:flash-sale:problem:${code}`,
        title: 'Bad Request',
        status: 400,
        code,
        retryable,
      });
      expect(body.detail.length).toBeGreaterThan(10);
      expect(body.request_id.length).toBeGreaterThan(10);
    }
    expect(Number((await order(early.id)).headers.get('retry-after'))).toBeGreaterThan(50);
  });

  test('a sale that does not exist: 404', async () => {
    for (const id of ['nope', '%7Bsale1%7D', 'a:b', '..', 'x'.repeat(65), 'x'.repeat(120)]) {
      const { status, body } = await order(id === '..' ? '%2e%2e%2fx' : id);
      expect(status, id).toBe(404);
      expect(['SALE_NOT_FOUND', 'NOT_FOUND']).toContain(body.code);
    }
  });
});

test('a request id is in the log lines of API and worker; an invalid one is replaced', async () => {
  const sale = await makeSale(world);
  const { body } = await order(sale.id, undefined, { 'x-user-id': 'ann', 'x-request-id': 'trace-42' });
  await eventually('both lines are there', 5_000, () =>
    ['order accepted', 'order confirmed'].every((msg) =>
      world.lines.some((line) => line.msg === msg && line.order_id === body.order_id && line.reqId === 'trace-42'),
    ),
  );
  const evil = await order(sale.id, undefined, { 'x-user-id': 'ann', 'x-request-id': 'a|b {"x":1}' });
  const line = world.lines.find((found) => found.order_id === evil.body.order_id);
  expect(line?.reqId).toMatch(/^[\w-]{8}\.[0-9a-z]+$/);
});

test('[trap 36] refusals are counted, not logged', async () => {
  const sale = await makeSale(world, { units: 1 });
  await order(sale.id);
  const before = world.lines.length;
  for (let i = 0; i < 20; i++) await order(sale.id, undefined, { 'x-user-id': 'refused-buyer' });
  const about = world.lines.slice(before).filter((line) => JSON.stringify(line).includes('refused-buyer'));
  expect(about).toEqual([]);
});
