/** POST …/order and GET /api/orders/…: the contract of the source document, over real HTTP. */
import { describe, expect, test } from 'vitest';
import { useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { makeSale, reservationText } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);
useWorker(world);

const isConfirmed = (id: string, buyer = 'ann'): Promise<void> =>
  eventually(`the order of ${buyer} is confirmed`, 5_000, async () => {
    const { word } = await api.readOrder(id, buyer);
    expect(['200 pending', '200 confirmed']).toContain(word);
    return word === '200 confirmed';
  });

describe('an order', () => {
  test('is accepted, pending, and then confirmed in the ledger with the amount', async () => {
    const sale = await makeSale(world);
    const { status, body } = await api.order(sale.id, { body: { quantity: 2 } });
    expect(status).toBe(200);
    expect(body).toEqual({
      order_id: expect.stringMatching(`^${sale.id}-[0-9A-Z]{26}$`),
      status: 'accepted',
      product_id: sale.id,
      quantity: 2,
      remaining: 8,
    });
    await isConfirmed(body.order_id);
    expect((await api.readOrder(body.order_id)).body).toMatchObject({
      order_id: body.order_id,
      product_id: sale.id,
      quantity: 2,
      unit_price: 99.99,
      amount: 199.98,
      currency: 'USD',
    });
    const sql = 'SELECT buyer_id, quantity, status FROM orders WHERE id = $1';
    expect((await world.pool.query(sql, [body.order_id])).rows).toEqual([
      { buyer_id: 'ann', quantity: 2, status: 'confirmed' },
    ]);
  });

  test.each([
    ['no body', undefined, {}],
    ['an empty body with a JSON content type', '', {}],
    ['an empty object', {}, {}],
    ['a type with a charset', '', { 'content-type': 'application/json; charset=utf-8' }],
  ])('with %s means one unit', async (_what, body, headers) => {
    const sale = await makeSale(world);
    expect((await api.order(sale.id, { body, headers })).body).toMatchObject({ status: 'accepted', quantity: 1 });
  });

  test.each(['0', '-1', '1.5', '"1"', '"1e3"', 'null', 'NaN', '1e400', '99999999999999999999', '1001', '[1]', 'true'])(
    '[trap 4] with quantity %s is refused and takes nothing',
    async (quantity) => {
      const sale = await makeSale(world);
      expect((await api.order(sale.id, { body: `{"quantity":${quantity}}` })).word).toBe('400 INVALID_REQUEST');
      expect(await api.available(sale.id)).toBe(10);
    },
  );

  test.each([
    ['{', '400 INVALID_REQUEST'],
    ['[]', '400 INVALID_REQUEST'],
    ['{"quantity":1,"price":0}', '400 INVALID_REQUEST'],
    [`{"quantity":1,"x":"${'a'.repeat(20_000)}"}`, '413 BODY_TOO_LARGE'],
  ])('with the body %.30s is refused', async (body, word) => {
    const sale = await makeSale(world);
    expect((await api.order(sale.id, { body })).word).toBe(word);
  });

  test('with a form body is refused with 415', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const { id } = await makeSale(world);
    expect((await api.order(id, { body: 'quantity=1', headers })).word).toBe('415 UNSUPPORTED_MEDIA_TYPE');
  });
});

describe('the buyer', () => {
  test('is required: 401', async () => {
    const sale = await makeSale(world);
    expect((await api.order(sale.id, { buyer: '' })).word).toBe('401 BUYER_REQUIRED');
    expect((await api.ask(`/api/flash-sales/${sale.id}/order`, { method: 'POST' })).word).toBe('401 BUYER_REQUIRED');
    expect((await api.get('/api/orders/x')).status).toBe(401);
  });

  test('may have the characters of keys and records in the id', async () => {
    const sale = await makeSale(world, { perBuyerLimit: 1 });
    for (const buyer of ['a|b', '{x}', 'a:b', '*', 'a|1|b', '%00', '"']) {
      const { word, body } = await api.order(sale.id, { buyer });
      expect(word, buyer).toBe('200 accepted');
      await isConfirmed(body.order_id, buyer);
      expect((await api.order(sale.id, { buyer })).word).toBe('400 BUYER_LIMIT');
    }
  });

  test("[I10] [trap 27] gets a 404 for another buyer's order, whether pending or confirmed", async () => {
    const sale = await makeSale(world);
    const { order_id: id } = (await api.order(sale.id)).body;
    expect((await api.readOrder(id, 'bob')).word).toBe('404 ORDER_NOT_FOUND');
    await isConfirmed(id);
    const { body: missing } = await api.readOrder(`${sale.id}-0`);
    for (const name of ['bob', 'Ann', 'ANN', 'ann.', 'ann*', 'an', 'ann1', '%61nn', 'admin']) {
      const { status, code, detail } = (await api.readOrder(id, name)).body;
      expect([status, code, detail], name).toEqual([404, 'ORDER_NOT_FOUND', missing.detail]);
    }
    const none = '00000000000000000000000000';
    for (const made of ['nonsense', `${sale.id}-${none}`, `nobody-${none}`, '..%2f..', 'x'.repeat(90)])
      expect((await api.readOrder(made)).status).toBe(404);
  });
});

test('[I7] [trap 13] a confirmed order is never pending again, whatever the inventory has', async () => {
  const sale = await makeSale(world);
  const { order_id: id } = (await api.order(sale.id)).body;
  await isConfirmed(id);
  // A Redis that lost its last second has the reservation again.
  await world.redis.hset(world.keys.sale(sale.id).reservations, id, reservationText(Date.now()));
  expect((await api.readOrder(id)).word).toBe('200 confirmed');
});

describe('a refusal', () => {
  test('has its code, says whether a retry can help, and names the request', async () => {
    const now = Date.now();
    const early = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
    const late = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 1_000 });
    const small = await makeSale(world, { units: 1 });
    const capped = await makeSale(world, { perBuyerLimit: 1 });
    await api.order(capped.id);
    const many = await api.order(small.id, { body: { quantity: 2 } });
    expect(many.body).toMatchObject({ status: 400, code: 'NOT_ENOUGH_UNITS', available: 1 });
    await api.order(small.id);
    const cases: [string, string, boolean][] = [
      [early.id, 'SALE_NOT_OPEN', true],
      [late.id, 'SALE_ENDED', false],
      [small.id, 'SOLD_OUT', true],
      [capped.id, 'BUYER_LIMIT', false],
    ];
    for (const [saleId, code, retryable] of cases) {
      const { status, headers, body } = await api.order(saleId);
      expect(status).toBe(400);
      expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
      const type = `urn:flash-sale:problem:${code}`;
      expect(body).toMatchObject({ type, title: 'Bad Request', status: 400, code, retryable });
      expect(body.detail.length).toBeGreaterThan(10);
      expect(body.request_id.length).toBeGreaterThan(10);
    }
    expect(Number((await api.order(early.id)).headers.get('retry-after'))).toBeGreaterThan(50);
  });

  test.each(['nope', '%7Bsale1%7D', 'a:b', '%2e%2e%2fx', 'x'.repeat(65), 'x'.repeat(120)])(
    'is a 404 for the sale %.20s, which does not exist',
    async (id) => expect((await api.order(id)).word).toMatch(/^404 (SALE_)?NOT_FOUND$/),
  );

  test('[trap 36] is counted, not logged', async () => {
    const sale = await makeSale(world, { units: 1 });
    await api.order(sale.id);
    const before = world.lines.length;
    for (let i = 0; i < 20; i++) await api.order(sale.id, { buyer: 'refused-buyer' });
    const about = world.lines.slice(before).filter((line) => JSON.stringify(line).includes('refused-buyer'));
    expect(about).toEqual([]);
  });
});

test('a request id is in the log lines of API and worker; an invalid one is replaced', async () => {
  const sale = await makeSale(world);
  const { body } = await api.order(sale.id, { headers: { 'x-request-id': 'trace-42' } });
  await eventually('both lines are there', 5_000, () =>
    ['order accepted', 'order confirmed'].every((msg) =>
      world.lines.some((line) => line.msg === msg && line.order_id === body.order_id && line.reqId === 'trace-42'),
    ),
  );
  const evil = await api.order(sale.id, { headers: { 'x-request-id': 'a|b {"x":1}' } });
  const line = world.lines.find((found) => found.order_id === evil.body.order_id);
  expect(line?.reqId).toMatch(/^[\w-]{8}\.[0-9a-z]+$/);
});
