/** Text from buyers that ends up in a key, a statement, a log line, a label or an object. */
import { expect, test } from 'vitest';
import { undocumentedKeys } from '../support/documented-keys.ts';
import { type Answer, useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);

/** Means something to Redis, SQL, Lua, JavaScript, JSON, HTML, a template or a shell. */
const TEXTS = [
  '*',
  '{x}',
  'a}:{b',
  '{system}',
  'a:b:c',
  '|1|2|3|',
  "x'; DROP TABLE orders; --",
  "' OR '1'='1",
  '$1',
  '\\x00',
  '__proto__',
  'constructor',
  'toString',
  '../../x',
  '%s%s%n',
  '{{7*7}}',
  '<img/src=x/onerror=alert(1)>',
  '\\u001b[31m',
  '","level":60,"msg":"forged',
  "redis.call('FLUSHALL')",
  '"} flash_sale_orders_total 1',
];
const CONTROLS = ['\r\nSET a b\r\n', '\n{"level":60}', '\0', '\x1b]0;x\x07', '\u202e', 'ａ', '😀', '\u2028'];

test('ids of sales, orders, buyers and keys create no key, no row and no log line of their own', async () => {
  const sale = await makeSale(world, { units: 1_000 });
  const linesBefore = world.lines.length;
  const statuses: number[] = [];
  const note = async (sent: Promise<Answer>): Promise<void> => {
    const { status, headers } = await sent;
    expect(headers.get('content-type')).toMatch(/json/);
    statuses.push(status);
  };
  for (const text of [...TEXTS, ...CONTROLS]) {
    const id = encodeURIComponent(text);
    await note(api.order(id));
    await note(api.get(`/api/flash-sales/${id}`));
    await note(api.readOrder(id));
    await note(api.get(`/${id}?q=${id}`));
    if (CONTROLS.includes(text)) continue;
    const value = text.replaceAll(' ', '_');
    const headers = { 'x-request-id': value, 'user-agent': value, traceparent: value };
    await note(api.order(sale.id, { buyer: value, key: text.replaceAll('"', ''), headers }));
  }
  expect(statuses.filter((status) => ![200, 400, 404].includes(status))).toEqual([]);
  expect(await undocumentedKeys(world)).toEqual([]);
  expect((await world.pool.query('SELECT count(*)::int AS orders FROM orders')).rows).toEqual([{ orders: 0 }]);
  const lines = world.lines.slice(linesBefore);
  expect(lines.filter(({ level, msg }) => level === 60 || msg === 'forged')).toEqual([]);
  const accepted = lines.filter(({ msg }) => msg === 'order accepted');
  expect(accepted).toHaveLength(TEXTS.length);
  const control = /[\p{Cc}\p{Zl}\p{Zp}\u202e]/u;
  for (const line of accepted) expect(Object.values(line).filter((value) => control.test(String(value)))).toEqual([]);
});

test('made-up paths, methods and buyers create no series of metrics', async () => {
  const count = async () => (await api.metrics()).split('\n').length;
  await api.get('/warm');
  const before = await count();
  for (let i = 0; i < 100; i++) {
    const headers = { 'x-user-id': `b${i}` };
    await api.ask(`/made-up/${i}?q=${i}`, { headers, method: i % 2 === 0 ? 'PUT' : 'PATCH' });
    await api.get(`/api/flash-sales/none${i}`, headers);
    await api.get(`/api/orders/none-${i}`, headers);
  }
  // Lines of some routes and outcomes, not one for each of 300 paths.
  expect((await count()) - before).toBeLessThan(120);
});

test.each(
  [
    '['.repeat(8_000),
    '{"__proto__":{"quantity":1000}}',
    '{"constructor":{"prototype":{"quantity":1}}}',
    '{"quantity":1,"__proto__":null}',
    '{"\\u005f_proto__":{"quantity":5}}',
    '{"quantity":1,"quantity":5000}',
    '{"quantity":{"$gt":0}}',
    '{"quantity":-0.0000001}',
    '{"quantity":9007199254740993}',
    `{"quantity":1${',"a":1'.repeat(2_000)}}`,
    '{"quantity":1}{"quantity":2}',
    '\ufeff\ufeff{"quantity":1}',
    '"quantity"',
  ].map((body) => [body.slice(0, 40), body]),
)('the body %s is refused, and takes nothing', async (_, body) => {
  const sale = await makeSale(world);
  expect((await api.order(sale.id, { body })).status).toBe(400);
  expect(({} as { quantity?: number }).quantity).toBeUndefined();
  expect(await api.available(sale.id)).toBe(10);
});

const SALE = { name: 'x', original_price: 1, flash_sale_price: 1, currency: 'USD', units: 1 };
const WINDOW = { starts_at: '2026-01-01T00:00:00Z', ends_at: '2999-01-01T00:00:00Z' };

test.each([
  ['order', '{"quantity":1,"quantity":2}', 'twice'],
  ['order', '{"quantity":1,"quantity":1}', 'twice'],
  ['order', '{ "quantity" : 1 ,\n"quantit\\u0079"\t: 2 }', 'twice'],
  ['order', '[{"a":":","b":{"b":[{"c":0},{"c":1,"d":"\\"","c":2}]}}]', 'twice'],
  ['order', '{"__proto__":1,"__proto__":2}', 'twice'],
  ['order', '{"quantity":1,"__proto__":{"quantity":2}}', '__proto__'],
  ['order', '{"__proto__":null}', '__proto__'],
  ['order', '{"quantity":1,"constructor":{"prototype":{}}}', 'constructor'],
  ['sales', JSON.stringify({ ...SALE, ...WINDOW }).replace('{', '{"product_id":"a1","units":5,'), 'twice'],
  ['window', JSON.stringify(WINDOW).replace('{', '{"ends_at":"2998-01-01T00:00:00Z",'), 'twice'],
  ['stock', '{"delta":5,"reason":"x","delta":50}', 'twice'],
  ['stock', '{"delta":5,"reason":"x","__proto__":1}', '__proto__'],
])('a name that stands twice, or that is reserved, is refused and named: %s %s', async (route, body, word) => {
  const { id } = await makeSale(world);
  const path = route === 'sales' ? '/sales' : `/sales/${id}/${route}`;
  const refused = route === 'order' ? await api.order(id, { body }) : await api.admin('POST', path, body);
  expect([refused.word, refused.body.detail]).toEqual(['400 INVALID_REQUEST', expect.stringContaining(word)]);
  expect(await api.available(id)).toBe(10);
});

test('names of different objects and texts that look like names are no names that stand twice', async () => {
  const name = '","units":1,"units":2,"\\';
  const sale = { ...SALE, ...WINDOW, product_id: 'a2', name, description: '"name":"name":\\"', allow: ['free'] };
  const made = await api.admin('POST', '/sales', JSON.stringify(sale, null, 2));
  expect([made.status, made.body.name]).toEqual([201, name]);
  // The schema refuses these, not the names.
  const { body } = await api.order('a2', { body: '[{"a":1},{"a":{"a":[]}},"a",":"]' });
  expect(body.detail).toBe('body must be object.');
});

test('content types other than JSON are refused; a query changes no quantity', async () => {
  const sale = await makeSale(world);
  for (const type of [
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-7',
    'x'.repeat(5_000),
  ])
    expect([400, 415], type).toContain(
      (await api.order(sale.id, { body: '<x/>', headers: { 'content-type': type } })).status,
    );
  const query = '?__proto__[quantity]=9&constructor[prototype][x]=1&quantity=5';
  const method = 'POST';
  const placed = await api.ask(`/api/flash-sales/${sale.id}/order${query}`, {
    method,
    headers: { 'x-user-id': 'ann' },
  });
  expect(placed.body).toMatchObject({ quantity: 1 });
  expect((await api.get(`/api/flash-sales?${'a[]=1&'.repeat(1_500)}`)).status).toBe(200);
});
