/** Who is let in where: pages of other origins, operators on a port of their own, and what browsers are told of pages. Over real HTTP. */
import { buildAdminApp } from '@flash-sale/api/app.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { ADMIN_TOKEN, type RunningApi, settingsFor, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let apart: RunningApi;
let admin: { url: string; close(): Promise<void> };

const SHOP = 'https://shop.example';
const operator = { authorization: `Bearer ${ADMIN_TOKEN}` };
const login = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_TOKEN}`).toString('base64')}` };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  const changed = { CORS_ORIGINS: `${SHOP}, https://other.example`, ADMIN_PORT: 5_999 };
  [api, apart] = await Promise.all([startApi(world), startApi(world, changed)]);
  const adminApp = await buildAdminApp(settingsFor(world, changed), apart.connections, world.log);
  admin = { url: await adminApp.listen({ host: '127.0.0.1', port: 0 }), close: () => adminApp.close() };
});
afterAll(async () => {
  await admin.close();
  await Promise.all([api.close(), apart.close()]);
  await world.close();
});

const preflight = (origin: string, at = apart) =>
  fetch(`${at.url}/api/flash-sales/x/order`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-user-id' },
  });

test('a page of an allowed origin may order, and can read refusals and Retry-After', async () => {
  const asked = await preflight(SHOP);
  expect(asked.status).toBe(200);
  expect(asked.headers.get('access-control-allow-origin')).toBe(SHOP);
  expect(asked.headers.get('access-control-allow-headers')).toContain('x-user-id');
  expect(asked.headers.get('access-control-max-age')).toBe('7200');
  for (const path of ['/api/flash-sales', '/api/flash-sales/none', '/api/orders/none']) {
    const answer = await fetch(`${apart.url}${path}`, { headers: { origin: SHOP } });
    expect(answer.headers.get('access-control-allow-origin'), path).toBe(SHOP);
    expect(answer.headers.get('access-control-expose-headers'), path).toContain('retry-after, ratelimit');
    expect(answer.headers.get('vary'), path).toMatch(/origin/i);
    expect(answer.headers.get('access-control-allow-credentials'), path).toBeNull();
  }
});

test.each([
  'https://evil.example',
  'https://shop.example.evil.example',
  'http://shop.example',
  'https://shop.example:8443',
  'https://SHOP.example',
  'null',
])('a page of %s reads nothing', async (origin) => {
  expect((await preflight(origin)).headers.get('access-control-allow-origin')).toBeNull();
  const answer = await fetch(`${apart.url}/api/flash-sales`, { headers: { origin } });
  expect(answer.headers.get('access-control-allow-origin')).toBeNull();
});

test('preflights are limited and counted like any other request, and a page can read the refusal', async () => {
  const limited = await startApi(world, { CORS_ORIGINS: SHOP, IP_RATE_LIMIT: 3 });
  const metrics = await limited.connections.metrics.listen({ host: '127.0.0.1', port: 0 });
  try {
    const told = await Promise.all(Array.from({ length: 20 }, () => preflight(SHOP, limited)));
    const passed = told.filter(({ status }) => status === 200);
    // A second may end between them.
    expect(passed.length).toBeGreaterThanOrEqual(3);
    expect(passed.length).toBeLessThanOrEqual(6);
    const refused = told.filter(({ status }) => status === 429);
    expect(refused.length).toBe(20 - passed.length);
    for (const { headers } of refused) expect(headers.get('access-control-allow-origin')).toBe(SHOP);
    const counted = await fetch(`http://127.0.0.1:${metrics.port}/metrics`);
    expect(await counted.text()).toMatch(
      new RegExp(`_count{route="OPTIONS \\*",kind="refused"} ${refused.length}$`, 'm'),
    );
  } finally {
    metrics.close();
    await limited.close();
  }
});

test('without ADMIN_PORT, pages of an allowed origin reach the routes of buyers only', async () => {
  const one = await startApi(world, { CORS_ORIGINS: SHOP });
  try {
    for (const path of [
      '/api/admin/sales',
      '/%61pi/admin/sales',
      '/api/admin/orders/x',
      '/admin/queues',
      '/docs/',
      '/health',
      '/nowhere',
    ]) {
      const asked = await fetch(one.url + path, {
        method: 'OPTIONS',
        headers: { origin: SHOP, 'access-control-request-method': 'POST' },
      });
      expect(asked.status, path).toBe(404);
      const read = await fetch(one.url + path, {
        headers: { ...(path.startsWith('/admin') ? login : operator), origin: SHOP },
      });
      for (const { headers } of [asked, read])
        expect(
          [...headers.keys()].filter((name) => name.startsWith('access-control')),
          path,
        ).toEqual([]);
    }
    expect((await preflight(SHOP, one)).headers.get('access-control-allow-origin')).toBe(SHOP);
  } finally {
    await one.close();
  }
});

test('without allowed origins no CORS header is sent', async () => {
  const asked = await preflight(SHOP, api);
  const answer = await fetch(`${api.url}/api/flash-sales`, { headers: { origin: SHOP } });
  for (const { headers } of [asked, answer])
    expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
  expect(asked.status).toBe(404);
});

test('with ADMIN_PORT, operators’ routes, board and their reference are only there', async () => {
  const sale = await makeSale(world);
  for (const path of ['/api/admin/sales', `/api/admin/sales/${sale.id}`, '/api/admin/orders/x', '/admin/queues']) {
    for (const headers of [operator, login]) {
      const hidden = await fetch(`${apart.url}${path}`, { headers });
      expect([hidden.status, ((await hidden.json()) as { code: string }).code], path).toEqual([404, 'NOT_FOUND']);
    }
  }
  expect((await fetch(`${admin.url}/api/admin/sales/${sale.id}`, { headers: operator })).status).toBe(200);
  expect((await fetch(`${admin.url}/api/admin/sales/${sale.id}`)).status).toBe(401);
  expect((await fetch(`${admin.url}/admin/queues`, { headers: login })).status).toBe(200);
  expect((await fetch(`${admin.url}/health/ready`)).status).toBe(200);
  const cross = await fetch(`${admin.url}/api/admin/sales`, { headers: { ...operator, origin: SHOP } });
  expect([cross.status, cross.headers.get('access-control-allow-origin')]).toEqual([200, null]);
  for (const path of [`/api/flash-sales/${sale.id}`, '/api/flash-sales', '/api/orders/x'])
    expect((await fetch(`${admin.url}${path}`)).status, path).toBe(404);
  const paths = async (url: string) =>
    Object.keys(((await (await fetch(`${url}/docs/json`)).json()) as { paths: object }).paths);
  expect((await paths(apart.url)).filter((path) => path.includes('admin'))).toEqual([]);
  expect((await paths(admin.url)).filter((path) => path.includes('flash-sales'))).toEqual([]);
});

test('pages load nothing from other origins and cannot be framed; other responses are nosniff', async () => {
  for (const [path, headers] of [
    ['/docs', {}],
    ['/admin/queues', login],
  ] as const) {
    const page = await fetch(`${api.url}${path}`, { headers });
    expect(page.status).toBe(200);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/https?:|unsafe-eval|\*/);
    expect(page.headers.get('x-frame-options')).toBe('DENY');
    expect(page.headers.get('referrer-policy')).toBe('no-referrer');
    // What the policy would stop: a script in the page itself. Data is none.
    const scripts = [...(await page.text()).matchAll(/<script\b([^>]*)>/g)].map((match) => match[1] as string);
    expect(scripts.filter((tag) => !/\bsrc=|type="application\/json"/.test(tag))).toEqual([]);
    expect(scripts.length).toBeGreaterThan(0);
  }
  for (const path of ['/api/flash-sales', '/nowhere', '/health/live', '/%zz'])
    expect((await fetch(`${api.url}${path}`)).headers.get('x-content-type-options'), path).toBe('nosniff');
});
