/** Health, the OpenAPI file and its page, and what happens while a part is away. */

import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
});
afterAll(async () => {
  await api.close();
  await world.close();
});

async function get(path: string, url = api.url): Promise<{ status: number; body: AnyJson }> {
  const response = await fetch(`${url}${path}`);
  return { status: response.status, body: await response.json() };
}

test('health names the part that does not answer, and says ok when all do', async () => {
  const silent = await get('/health');
  expect(silent.status).toBe(503);
  expect(silent.body).toEqual({
    status: 'unavailable',
    parts: { redis: 'ok', postgres: 'ok', worker: 'does not answer' },
    breakers: { redis: 'closed', postgres: 'closed' },
    unavailable: ['worker'],
  });
  const worker = await startWorkerHere(world);
  await eventually('all parts answer', 5_000, async () => (await get('/health')).status === 200);
  expect((await get('/health')).body).toMatchObject({ status: 'ok', unavailable: [] });
  await worker.stop();
});

test('live asks no part; ready asks only for what an order needs', async () => {
  expect(await get('/health/live')).toEqual({ status: 200, body: { status: 'ok' } });
  expect(await get('/health/ready')).toEqual({ status: 200, body: { status: 'ok' } });
});

test('a hundred health checks at once ask each part once', async () => {
  await new Promise((resolve) => setTimeout(resolve, 600));
  let asked = 0;
  const { redis } = api.connections.probes;
  api.connections.probes.redis = () => {
    asked += 1;
    return redis();
  };
  await Promise.all(Array.from({ length: 100 }, () => get('/health')));
  api.connections.probes.redis = redis;
  expect(asked).toBeLessThanOrEqual(2);
});

test('while PostgreSQL is away orders are still taken, the operator is told, and nothing of the inside is shown', async () => {
  const sale = await makeSale(world);
  const lonely = await startApi(world, {
    REQUEST_TIMEOUT_MS: 1_000,
    DATABASE_URL: 'postgres://nobody:secret-word@127.0.0.1:9/none',
  });
  try {
    const placed = await fetch(`${lonely.url}/api/flash-sales/${sale.id}/order`, {
      method: 'POST',
      headers: { 'x-user-id': 'ann' },
    });
    expect(placed.status).toBe(200);
    const operator = await fetch(`${lonely.url}/api/admin/sales/${sale.id}`, {
      headers: { authorization: 'Bearer a-token-for-the-tests' },
    });
    const text = await operator.text();
    expect([operator.status, JSON.parse(text).code]).toEqual([503, 'LEDGER_UNAVAILABLE']);
    expect(text).not.toMatch(/secret-word|ECONNREFUSED|127\.0\.0\.1|node_modules/);
    expect((await get('/health', lonely.url)).body.unavailable).toContain('postgres');
    expect((await get('/health/ready', lonely.url)).status).toBe(200);
  } finally {
    await lonely.close();
  }
});

test('the OpenAPI file in docs is that of the routes (`npm run generate` writes it)', async () => {
  const served = (await get('/docs/json')).body;
  await expect(`${JSON.stringify(served, null, 2)}\n`).toMatchFileSnapshot('../../docs/openapi.json');
  expect(served.openapi).toBe('3.1.0');
  expect(Object.keys(served.paths).sort()).toEqual([
    '/api/admin/orders/{order_id}',
    '/api/admin/sales',
    '/api/admin/sales/{product_id}',
    '/api/admin/sales/{product_id}/pause',
    '/api/admin/sales/{product_id}/resume',
    '/api/admin/sales/{product_id}/stock',
    '/api/admin/sales/{product_id}/window',
    '/api/flash-sales',
    '/api/flash-sales/{product_id}',
    '/api/flash-sales/{product_id}/order',
    '/api/orders/{order_id}',
    '/health',
    '/health/live',
    '/health/ready',
  ]);
});

test('the reference page is served, with everything it needs', async () => {
  const page = await fetch(`${api.url}/docs`);
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  const html = await page.text();
  for (const [, path] of html.matchAll(/(?:src|href)="(\.?\/[^"]+)"/g)) {
    expect((await fetch(new URL(path as string, `${api.url}/docs/`))).status, path).toBe(200);
  }
});

test('pages write no log line for a request, and their 404 is a problem', async () => {
  const before = world.lines.length;
  const missing = await fetch(`${api.url}/docs/nothing`);
  expect([missing.status, missing.headers.get('content-type')]).toEqual([
    404,
    'application/problem+json; charset=utf-8',
  ]);
  expect(await missing.json()).toMatchObject({ code: 'NOT_FOUND', request_id: expect.any(String) });
  expect(world.lines.slice(before)).toEqual([]);
});
