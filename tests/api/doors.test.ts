/** Pages of other origins, a port for operators only, and security headers. Over real HTTP. */
import { buildAdminApp } from '@flash-sale/api/app.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ask, BEARER, LOGIN, type TestApi, times, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { settingsFor } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';

const SHOP = 'https://shop.example';
const APART = { CORS_ORIGINS: `${SHOP}, https://other.example`, ADMIN_PORT: 5_999 };

const world = useWorld();
const api = useApi(world);
const apart = useApi(world, () => APART);
let admin: { url: string; close(): Promise<void> };

beforeAll(async () => {
  const app = await buildAdminApp(await settingsFor(world, APART), apart.connections, world.log);
  admin = { url: await app.listen({ host: '127.0.0.1', port: 0 }), close: () => app.close() };
});
afterAll(() => admin.close());

const preflight = (origin: string, at: TestApi = apart) =>
  at.ask('/api/flash-sales/x/order', {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-user-id' },
  });
const corsHeaders = ({ headers }: { headers: Headers }): string[] =>
  [...headers.keys()].filter((name) => name.startsWith('access-control'));

test('a page of an allowed origin may order, and can read refusals and Retry-After', async () => {
  const asked = await preflight(SHOP);
  expect(asked.status).toBe(200);
  expect(asked.headers.get('access-control-allow-origin')).toBe(SHOP);
  expect(asked.headers.get('access-control-allow-headers')).toContain('x-user-id');
  expect(asked.headers.get('access-control-max-age')).toBe('7200');
  for (const path of ['/api/flash-sales', '/api/flash-sales/none', '/api/orders/none']) {
    const { headers } = await apart.get(path, { origin: SHOP });
    expect(headers.get('access-control-allow-origin'), path).toBe(SHOP);
    expect(headers.get('access-control-expose-headers'), path).toContain('retry-after, ratelimit');
    expect(headers.get('vary'), path).toMatch(/origin/i);
    expect(headers.get('access-control-allow-credentials'), path).toBeNull();
  }
});

test('a page can read every header that an answer has', async () => {
  const sale = await makeSale(world, { units: 3 });
  const limits = { CORS_ORIGINS: SHOP, IP_RATE_LIMIT: 1_000, RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 1 };
  await withApi(world, { ...limits, GLOBAL_RATE_LIMIT: 500 }, async (shop) => {
    const headers = { origin: SHOP };
    const order = () => shop.order(sale.id, { key: 'k', headers });
    const answers = [await order(), await order(), await shop.order(sale.id, { headers })];
    answers.push(await shop.order(sale.id, { headers }), await shop.order(sale.id, { buyer: '', headers }));
    const list = await shop.get('/api/flash-sales', headers);
    answers.push(list, await shop.get('/api/flash-sales', { ...headers, 'if-none-match': '*' }));
    answers.push(await shop.ask('/api/flash-sales', { method: 'PUT', headers }));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 401, 200, 304, 405]);
    const exposed = (list.headers.get('access-control-expose-headers') ?? '').split(', ');
    const safelisted = ['cache-control', 'content-language', 'content-length', 'content-type', 'expires', 'pragma'];
    const ofConnection = ['connection', 'keep-alive', 'transfer-encoding', 'vary', 'x-content-type-options'];
    const sent = new Set(answers.flatMap((answer) => [...answer.headers.keys()]));
    const hidden = [...sent].filter((name) => ![...exposed, ...safelisted, ...ofConnection].includes(name));
    expect(hidden.filter((name) => !name.startsWith('access-control-'))).toEqual([]);
    for (const name of ['age', 'date', 'allow', 'retry-after']) expect([...sent]).toContain(name);
  });
});

test.each([
  ['PUT', '/api/flash-sales', 'GET, HEAD'],
  ['GET', '/api/flash-sales/x/order', 'POST'],
  ['DELETE', '/api/flash-sales/x', 'GET, HEAD'],
  ['OPTIONS', '/api/orders/x', 'GET, HEAD'],
  ['PROPFIND', '/health', 'GET, HEAD'],
  ['DELETE', '/api/admin/sales', 'GET, HEAD, POST'],
  ['POST', '/api/admin/sales/x', 'GET, HEAD'],
  ['POST', '/docs', 'GET, HEAD'],
  ['POST', '/nowhere', null],
])('%s %s: 405 and what the path allows; 404 where there is no path', async (method, path, allow) => {
  const { word, headers } = await api.ask(path, { method, headers: BEARER });
  expect([word, headers.get('allow')]).toEqual([allow ? '405 METHOD_NOT_ALLOWED' : '404 NOT_FOUND', allow]);
  expect(headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
});

test.each([
  'https://evil.example',
  'https://shop.example.evil.example',
  'http://shop.example',
  'https://shop.example:8443',
  'https://SHOP.example',
  'null',
])('a page of %s reads nothing', async (origin) => {
  for (const { headers } of [await preflight(origin), await apart.get('/api/flash-sales', { origin })])
    expect(headers.get('access-control-allow-origin')).toBeNull();
});

test('preflights are limited and counted like any other request, and a page can read the refusal', async () => {
  await withApi(world, { CORS_ORIGINS: SHOP, IP_RATE_LIMIT: 3 }, async (limited) => {
    const told = await times(20, () => preflight(SHOP, limited));
    const passed = told.filter(({ status }) => status === 200);
    // A second may end between them.
    expect(passed.length).toBeGreaterThanOrEqual(3);
    expect(passed.length).toBeLessThanOrEqual(6);
    const refused = told.filter(({ status }) => status === 429);
    expect(refused.length).toBe(20 - passed.length);
    for (const { headers } of refused) expect(headers.get('access-control-allow-origin')).toBe(SHOP);
    const counted = `_count{route="OPTIONS *",kind="refused"} ${refused.length}\n`;
    expect(await limited.metrics()).toContain(counted);
  });
});

test('without ADMIN_PORT, pages of an allowed origin reach the routes of buyers only', async () => {
  await withApi(world, { CORS_ORIGINS: SHOP }, async (one) => {
    for (const path of [
      '/api/admin/sales',
      '/%61pi/admin/sales',
      '/api/admin/orders/x',
      '/admin/queues',
      '/docs/',
      '/health',
      '/nowhere',
    ]) {
      const asked = await one.ask(path, {
        method: 'OPTIONS',
        headers: { origin: SHOP, 'access-control-request-method': 'POST' },
      });
      expect(asked.status, path).toBe(path === '/nowhere' ? 404 : 405);
      const read = await one.get(path, { ...(path.startsWith('/admin') ? LOGIN : BEARER), origin: SHOP });
      expect([...corsHeaders(asked), ...corsHeaders(read)], path).toEqual([]);
    }
    expect((await preflight(SHOP, one)).headers.get('access-control-allow-origin')).toBe(SHOP);
  });
});

test('without allowed origins no CORS header is sent', async () => {
  const asked = await preflight(SHOP, api);
  expect(asked.status).toBe(405);
  expect([...corsHeaders(asked), ...corsHeaders(await api.get('/api/flash-sales', { origin: SHOP }))]).toEqual([]);
});

test('with ADMIN_PORT, operators’ routes, the board and their reference are only on that port', async () => {
  const sale = await makeSale(world);
  const ofSale = `/api/admin/sales/${sale.id}`;
  for (const path of ['/api/admin/sales', ofSale, '/api/admin/orders/x', '/admin/queues'])
    for (const headers of [BEARER, LOGIN]) expect((await apart.get(path, headers)).word, path).toBe('404 NOT_FOUND');
  const statusOf = async (path: string, headers = {}) => (await ask(admin.url + path, { headers })).status;
  expect(await statusOf(ofSale, BEARER)).toBe(200);
  expect(await statusOf(ofSale)).toBe(401);
  expect(await statusOf('/admin/queues', LOGIN)).toBe(200);
  expect(await statusOf('/health/ready')).toBe(200);
  const cross = await ask(`${admin.url}/api/admin/sales`, { headers: { ...BEARER, origin: SHOP } });
  expect([cross.status, corsHeaders(cross)]).toEqual([200, []]);
  for (const path of [`/api/flash-sales/${sale.id}`, '/api/flash-sales', '/api/orders/x'])
    expect(await statusOf(path), path).toBe(404);
  const paths = async (url: string) => Object.keys((await ask(`${url}/docs/json`)).body.paths);
  expect((await paths(apart.url)).filter((path) => path.includes('admin'))).toEqual([]);
  expect((await paths(admin.url)).filter((path) => path.includes('flash-sales'))).toEqual([]);
});

test('pages load nothing from other origins and cannot be framed; other responses are nosniff', async () => {
  for (const [path, headers] of [
    ['/docs', {}],
    ['/admin/queues', LOGIN],
  ] as const) {
    const page = await api.get(path, headers);
    expect(page.status).toBe(200);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/https?:|unsafe-eval|\*/);
    expect(page.headers.get('x-frame-options')).toBe('DENY');
    expect(page.headers.get('referrer-policy')).toBe('no-referrer');
    // The policy would stop a script that stands in the page itself; data is allowed.
    const scripts = [...page.text.matchAll(/<script\b([^>]*)>/g)].map((match) => match[1] as string);
    expect(scripts.filter((tag) => !/\bsrc=|type="application\/json"/.test(tag))).toEqual([]);
    expect(scripts.length).toBeGreaterThan(0);
  }
  for (const path of ['/api/flash-sales', '/nowhere', '/health/live', '/%zz'])
    expect((await api.get(path)).headers.get('x-content-type-options'), path).toBe('nosniff');
});
