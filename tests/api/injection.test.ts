/** Injection: what buyers send, where it becomes part of a key, a statement, a log line, a label or an object. SECURITY.md has the table. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { undocumentedKeys } from '../support/documented-keys.ts';
import { type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let saleId: string;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
  saleId = (await makeSale(world, { units: 1_000_000 })).id;
});
afterAll(async () => {
  await api.close();
  await world.close();
});

const order = (headers: Record<string, string>, body?: string, path = `/api/flash-sales/${saleId}/order`) =>
  fetch(api.url + path, { method: 'POST', headers, ...(body === undefined ? {} : { body }) });
const available = async () => (await api.connections.inventory.read(saleId)).numbers?.available ?? 0;

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
  const linesBefore = world.lines.length;
  const statuses: number[] = [];
  const note = async (sent: Promise<Response>): Promise<void> => {
    const response = await sent;
    expect(response.headers.get('content-type')).toMatch(/json/);
    await response.arrayBuffer();
    statuses.push(response.status);
  };
  for (const text of [...TEXTS, ...CONTROLS]) {
    const id = encodeURIComponent(text);
    const asBuyer = { headers: { 'x-user-id': 'inject' } };
    await note(order({ 'x-user-id': 'inject' }, undefined, `/api/flash-sales/${id}/order`));
    await note(fetch(`${api.url}/api/flash-sales/${id}`));
    await note(fetch(`${api.url}/api/orders/${id}`, asBuyer));
    await note(fetch(`${api.url}/${id}?q=${id}`));
    if (CONTROLS.includes(text)) continue;
    const value = text.replaceAll(' ', '_');
    const named = { 'x-request-id': value, 'user-agent': value, traceparent: value };
    await note(order({ 'x-user-id': value, 'idempotency-key': text.replaceAll('"', ''), ...named }));
  }
  expect(statuses.filter((status) => ![200, 400, 404].includes(status))).toEqual([]);
  expect(await undocumentedKeys(world)).toEqual([]);
  expect((await world.pool.query('SELECT count(*)::int AS orders FROM orders')).rows).toEqual([{ orders: 0 }]);
  const lines = world.lines.slice(linesBefore);
  expect(lines.filter(({ msg }) => msg === 'order accepted')).toHaveLength(TEXTS.length);
  expect(lines.filter(({ level, msg }) => level === 60 || msg === 'forged')).toEqual([]);
  const control = /[\p{Cc}\p{Zl}\p{Zp}\u202e]/u;
  for (const line of lines.filter(({ msg }) => msg === 'order accepted'))
    expect(Object.values(line).filter((value) => control.test(String(value)))).toEqual([]);
});

test('made-up paths, methods and buyers create no series of metrics', async () => {
  const metrics = await api.connections.metrics.listen({ host: '127.0.0.1', port: 0 });
  const count = async () => (await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text()).split('\n').length;
  await fetch(`${api.url}/warm`);
  const before = await count();
  for (let i = 0; i < 100; i++) {
    const headers = { 'x-user-id': `b${i}` };
    await fetch(`${api.url}/made-up/${i}?q=${i}`, { headers, method: i % 2 === 0 ? 'PUT' : 'PATCH' });
    await fetch(`${api.url}/api/flash-sales/none${i}`, { headers });
    await fetch(`${api.url}/api/orders/none-${i}`, { headers });
  }
  // The lines of some routes and outcomes, not one for each of 300 paths.
  expect((await count()) - before).toBeLessThan(120);
  metrics.close();
});

const BODIES = [
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
];
test.each(BODIES.map((body) => [body.slice(0, 40), body]))(
  'the body %s is refused, and takes nothing',
  async (_, body) => {
    const before = await available();
    const { status } = await order({ 'x-user-id': 'ann', 'content-type': 'application/json' }, body);
    expect(status).toBe(400);
    expect(({} as { quantity?: number }).quantity).toBeUndefined();
    expect(await available()).toBe(before);
  },
);

test('content types that are not JSON are refused; a query changes no quantity', async () => {
  const types = [
    'text/plain',
    'application/xml',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-7',
    'x'.repeat(5_000),
  ];
  for (const type of types)
    expect([400, 415], type).toContain((await order({ 'x-user-id': 'ann', 'content-type': type }, '<x/>')).status);
  const query = '?__proto__[quantity]=9&constructor[prototype][x]=1&quantity=5';
  const placed = await order({ 'x-user-id': 'ann' }, undefined, `/api/flash-sales/${saleId}/order${query}`);
  expect(await placed.json()).toMatchObject({ quantity: 1 });
  expect((await fetch(`${api.url}/api/flash-sales?${'a[]=1&'.repeat(1_500)}`)).status).toBe(200);
});
