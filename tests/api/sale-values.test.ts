/** Values of a new sale: mistakes are refused, and what was sent is what is stored and shown. */
import { describe, expect, test } from 'vitest';
import { auditHere, codesOf } from '../support/audited.ts';
import { useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { untilSold } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);
useWorker(world);

let count = 0;
const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
const newSale = (changed: Record<string, unknown> = {}): Record<string, unknown> => ({
  product_id: `valued-${count++}`,
  name: 'Thing',
  original_price: '199.99',
  flash_sale_price: '99.99',
  currency: 'USD',
  units: 10,
  starts_at: at(-1_000),
  ends_at: at(60_000),
  ...changed,
});
const create = (changed: Record<string, unknown>) => api.admin('POST', '/sales', newSale(changed));
const read = (id: string) => api.admin('GET', `/sales/${id}`);

describe('values that look like a mistake', () => {
  test.each<[string, Record<string, unknown>]>([
    ['price_above_original', { original_price: 5, flash_sale_price: 500 }],
    ['free', { flash_sale_price: '0.00' }],
    ['unknown_currency', { currency: 'XXZ' }],
    ['price_decimals', { currency: 'JPY' }],
    ['price_decimals', { currency: 'JPY', original_price: '200', flash_sale_price: '100.0' }],
    ['price_decimals', { original_price: '199.999' }],
    ['window_over', { starts_at: at(-60_000), ends_at: at(-1_000) }],
  ])('%s: refused with %j, and created if it is allowed', async (warning, changed) => {
    const refused = await create(changed);
    expect(refused.word).toBe('400 INVALID_REQUEST');
    expect(refused.body.detail).toMatch(/^body\/\w+ .*\. If it is meant, add "allow": \["\w+"\]\.$/);
    const other = warning === 'free' ? 'window_over' : 'free';
    expect((await create({ ...changed, allow: [other] })).word).toBe('400 INVALID_REQUEST');
    expect((await create({ ...changed, allow: [warning] })).status).toBe(201);
  });

  test('are all named at once', async () => {
    const wrong = {
      currency: 'XXZ',
      original_price: 0,
      flash_sale_price: 1,
      ends_at: at(-1_000),
      starts_at: at(-9_000),
    };
    const { detail } = (await create(wrong)).body;
    for (const word of ['window_over', 'unknown_currency', 'price_above_original']) expect(detail).toContain(word);
    const allow = ['window_over', 'unknown_currency', 'price_above_original'];
    expect((await create({ ...wrong, allow })).status).toBe(201);
    expect((await create({ allow: ['anything'] })).word).toBe('400 INVALID_REQUEST');
  });

  test('a window that is moved into the past', async () => {
    const { product_id: id } = (await create({})).body;
    const past = { starts_at: at(-60_000), ends_at: at(-1_000) };
    const move = (body: object) => api.admin('POST', `/sales/${id}/window`, body);
    expect((await move(past)).body.detail).toContain('"allow": ["window_over"]');
    expect((await read(id)).body.state).toBe('active');
    expect((await move({ ...past, allow: ['window_over'] })).body.state).toBe('ended');
  });
});

test.each([
  ['0.30', 'USD'],
  ['79.00', 'EUR'],
  ['5', 'USD'],
  ['100', 'JPY'],
  ['1.234', 'BHD'],
  ['999999999.99', 'USD'],
])('the price %s %s is shown to operators as it was sent, in sale and order', async (price, currency) => {
  const made = await create({ original_price: price, flash_sale_price: price, currency });
  const prices = { original_price: price, flash_sale_price: price, currency };
  expect(made.body).toMatchObject(prices);
  const { product_id: id } = made.body;
  expect((await read(id)).body).toMatchObject(prices);
  const { order_id: order } = (await api.order(id)).body;
  await untilSold(world, id, 1);
  expect((await api.admin('GET', `/orders/${order}`)).body).toMatchObject({
    status: 'confirmed',
    buyer_id: 'ann',
    unit_price: price,
    amount: price,
  });
  expect((await api.readOrder(order)).body).toMatchObject({ unit_price: Number(price), amount: Number(price) });
});

test.each([
  ['2026-01-01T00:00:00Z', '2261-01-01T00:00:00.123Z'],
  ['1970-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z'],
  ['2026-01-01T23:59:59.999-23:59', '9999-12-31T23:59:59+00:01'],
  ['2026-02-28t10:00:00.5z', '2200-02-28 10:00:00.120000+05:30'],
  ['2026-01-01T00:00:00.001+14:00', '9876-05-04T03:02:01.007-00:00'],
])('the window %s to %s is exact to the millisecond, everywhere', async (startsAt, endsAt) => {
  const instants = [startsAt, endsAt].map((text) => new Date(text.replace(' ', 'T').toUpperCase()).toISOString());
  const [starts_at, ends_at] = instants;
  const { body: made } = await create({ starts_at: startsAt, ends_at: endsAt });
  expect(made).toMatchObject({ starts_at, ends_at });
  const { product_id: id } = made;
  expect((await api.get(`/api/flash-sales/${id}`)).body.product).toMatchObject({ starts_at, ends_at });
  const moved = await api.admin('POST', `/sales/${id}/window`, { starts_at: startsAt, ends_at: endsAt });
  expect(moved.body).toMatchObject({ starts_at, ends_at });
  const inInventory = await world.redis.hmget(world.keys.sale(id).inventory, 'starts_at', 'ends_at');
  expect(inInventory).toEqual(instants.map((text) => String(Date.parse(text as string))));
  const { body } = await api.admin('GET', '/sales');
  expect(body.sales[0]).toMatchObject({ product_id: id, starts_at, ends_at });
  expect(codesOf(await auditHere(world, id))).toEqual([]);
});

test.each([
  '9999-12-31T23:59:59-01:00',
  '9999-12-31T23:59:59.999-00:01',
  '+010000-01-01T00:00:00Z',
  '2261-01-01T00:00:00.1234Z',
  '2261-01-01T00:00:00',
  '2261-01-01T00:00:00+0100',
  '2261-01-01T00:00:00+01',
  '2261-01-01T24:00:01Z',
  '2261-02-29T00:00:00Z',
  '2016-12-31T23:59:60Z',
  '1969-12-31T23:59:59.999Z',
  '0000-01-01T00:00:00Z',
  '1970-01-01T00:00:00+00:01',
  '2261-01-01',
  '9223372036854',
])('the date %s is refused, as start and as end', async (date) => {
  const allow = ['window_over'];
  for (const changed of [{ ends_at: date }, { starts_at: date, ends_at: '9999-01-01T00:00:00Z' }])
    expect((await create({ ...changed, allow })).word).toBe('400 INVALID_REQUEST');
  const { product_id: id } = (await create({})).body;
  const moved = await api.admin('POST', `/sales/${id}/window`, { starts_at: at(0), ends_at: date, allow });
  expect(moved.word).toBe('400 INVALID_REQUEST');
});

describe('text', () => {
  const escaped = (value: unknown): string =>
    JSON.stringify(value).replaceAll(/[^ -~]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);

  test.each([
    ['Chinese characters', '茶'],
    ['emoji, a surrogate pair each', '😀'],
  ])('of the full length may be sent as JSON escapes: %s', async (_what, one) => {
    const sale = newSale({ name: one.repeat(200), description: one.repeat(4_000) });
    expect((await api.admin('POST', '/sales', escaped(sale))).status).toBe(201);
    const { product } = (await api.get(`/api/flash-sales/${sale.product_id}`)).body;
    expect(product).toMatchObject({ name: sale.name, description: sale.description });
    const longer = { ...newSale(), description: one.repeat(4_001) };
    expect((await api.admin('POST', '/sales', escaped(longer))).word).toBe('400 INVALID_REQUEST');
    const huge = { ...newSale(), description: one.repeat(40_000) };
    expect((await api.admin('POST', '/sales', escaped(huge))).word).toBe('413 BODY_TOO_LARGE');
  });

  test.each(['\\ud800', '\\udfff\\ud800', '\\ud83d x', 'x\\uDE00', '\\u0000', '\\\\\\ud800'])(
    'that cannot be stored as it is, is refused in every field: %s',
    async (text) => {
      const { product_id: id } = (await create({})).body;
      for (const field of ['name', 'description', 'currency', 'product_id', 'another']) {
        const body = JSON.stringify(newSale({ [field]: '@' })).replace('@', text);
        expect((await api.admin('POST', '/sales', body)).word, field).toBe('400 INVALID_REQUEST');
      }
      for (const body of [`{"delta":1,"reason":"${text}"}`, `{"delta":1,"reason":"x","change_id":"${text}"}`])
        expect((await api.admin('POST', `/sales/${id}/stock`, body)).word).toBe('400 INVALID_REQUEST');
      expect((await api.order(id, { body: `{"${text}":1}` })).word).toBe('400 INVALID_REQUEST');
      expect((await read(id)).body).toMatchObject({ allotment: 10 });
    },
  );

  const BLANK = [
    '',
    ' ',
    '\t\r\n',
    '\u00a0\u3000',
    '\u200b\u200c\u200d\u2060\ufeff',
    '\u00ad\u034f',
    '\u0301',
    '\u202e',
  ];
  const BLANK_LETTERS = ['\u115f\u1160', '\u3164', '\uffa0', '\u2800', '\u{1d159}', '\u{e0041}', '\ufe0f'];
  test.each([...BLANK, ...BLANK_LETTERS].map((text) => [encodeURI(text), text]))(
    'that shows nothing is no name and no reason: %s',
    async (_, text) => {
      expect((await create({ name: text })).word).toBe('400 INVALID_REQUEST');
      const { product_id: id } = (await create({ name: `${text}-${text}` })).body;
      const change = { delta: 1, reason: text };
      expect((await api.admin('POST', `/sales/${id}/stock`, change)).word).toBe('400 INVALID_REQUEST');
    },
  );

  test('that looks like an escape is stored, and a change with it is repeated', async () => {
    const { product_id: id } = (await create({})).body;
    const change = { delta: 1, change_id: `text-${id}`, reason: 'a \\ud800 and \u{1f600} and \\\\u0000' };
    for (let i = 0; i < 2; i++)
      expect((await api.admin('POST', `/sales/${id}/stock`, change)).body).toMatchObject({ allotment: 11 });
    const { rows } = await world.pool.query('SELECT reason FROM stock_changes WHERE id = $1', [change.change_id]);
    expect(rows).toEqual([{ reason: change.reason }]);
  });
});
