/** Health, the OpenAPI file and its page, and orders while PostgreSQL is unavailable. */
import { PROBE_CACHE_MS } from '@flash-sale/api/health/health-routes.ts';
import openapiTypes from 'openapi-typescript';
import { expect, test } from 'vitest';
import { times, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);

test('health names the dependency that does not answer, and says ok when all do', async () => {
  const silent = await api.get('/health');
  expect(silent.status).toBe(503);
  expect(silent.body).toEqual({
    status: 'unavailable',
    parts: { redis: 'ok', postgres: 'ok', worker: 'does not answer' },
    breakers: { redis: 'closed', postgres: 'closed' },
    unavailable: ['worker'],
  });
  const worker = await startWorkerHere(world);
  await eventually('everything answers', 5_000, async () => (await api.get('/health')).status === 200);
  expect((await api.get('/health')).body).toMatchObject({ status: 'ok', unavailable: [] });
  await worker.stop();
});

test('live asks no dependency; ready asks only for what an order needs', async () => {
  for (const path of ['/health/live', '/health/ready'])
    expect(await api.get(path)).toMatchObject({ status: 200, body: { status: 'ok' } });
});

test('a hundred health checks at once ask each dependency once', async () => {
  let asked = 0;
  const { redis } = api.connections.probes;
  api.connections.probes.redis = () => {
    asked += 1;
    return redis();
  };
  let startedAt = 0;
  await eventually('an earlier answer is outdated', 5_000, async () => {
    startedAt = performance.now();
    await times(100, () => api.get('/health'));
    return asked > 0;
  });
  api.connections.probes.redis = redis;
  // Once, and again for each time that the answer becomes outdated while the hundred are served.
  expect(asked).toBeLessThanOrEqual(1 + Math.ceil((performance.now() - startedAt) / PROBE_CACHE_MS));
});

test('while PostgreSQL is unavailable orders are taken, operators get 503, and no internals are shown', async () => {
  const sale = await makeSale(world);
  const settings = { REQUEST_TIMEOUT_MS: 1_000, DATABASE_URL: 'postgres://nobody:secret-word@127.0.0.1:9/none' };
  await withApi(world, settings, async (lonely) => {
    expect((await lonely.order(sale.id)).status).toBe(200);
    const { word, text } = await lonely.admin('GET', `/sales/${sale.id}`);
    expect(word).toBe('503 LEDGER_UNAVAILABLE');
    expect(text).not.toMatch(/secret-word|ECONNREFUSED|127\.0\.0\.1|node_modules/);
    expect((await lonely.get('/health')).body.unavailable).toContain('postgres');
    expect((await lonely.get('/health/ready')).status).toBe(200);
  });
});

test('a PostgreSQL that is read-only is named; orders can be placed and read', async () => {
  const sale = await makeSale(world);
  const readOnly = `${world.databaseUrl}?options=-c%20default_transaction_read_only%3Don`;
  await withApi(world, { DATABASE_URL: readOnly }, async (reading) => {
    const { body } = await reading.order(sale.id, { buyer: 'ann' });
    expect((await reading.get('/health')).body.unavailable).toContain('postgres');
    const order = await reading.get(`/api/orders/${body.order_id}`, { 'x-user-id': 'ann' });
    expect(order.body.status).toBe('pending');
  });
});

test('docs/openapi.json and openapi.d.ts are those of the routes (`npm run generate` writes them)', async () => {
  const served = (await api.get('/docs/json')).body;
  await expect(`${JSON.stringify(served, null, 2)}\n`).toMatchFileSnapshot('../../docs/openapi.json');
  const types = `/** Generated from openapi.json, for a TypeScript client. */\n${await openapiTypes(served)}`;
  await expect(types).toMatchFileSnapshot('../../docs/openapi.d.ts');
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

test('the reference page is served with everything it needs', async () => {
  const page = await api.get('/docs');
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  for (const [, path] of page.text.matchAll(/(?:src|href)="(\.?\/[^"]+)"/g))
    expect((await fetch(new URL(path as string, `${api.url}/docs/`))).status, path).toBe(200);
});

test('requests for pages write no log line, and their 404 is a problem', async () => {
  const before = world.lines.length;
  const missing = await api.get('/docs/nothing');
  expect(missing.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
  expect(missing.body).toMatchObject({ status: 404, code: 'NOT_FOUND', request_id: expect.any(String) });
  expect(world.lines.slice(before)).toEqual([]);
});
