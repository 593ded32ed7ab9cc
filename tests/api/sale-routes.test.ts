/** GET /api/flash-sales and /api/flash-sales/{product_id}: what the crowd reads, and how often Redis and PostgreSQL see it. */

import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { ADMIN_TOKEN, type RunningApi, startApi } from '../support/running-system.ts';
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

async function get(path: string): Promise<{ status: number; body: AnyJson }> {
  const response = await fetch(`${api.url}${path}`);
  return { status: response.status, body: await response.json() };
}

test('the list has active sales with units remaining, and nothing else', async () => {
  const now = Date.now();
  const active = await makeSale(world, { name: 'Active', description: 'Ünïcode 秒杀' });
  const soldOut = await makeSale(world, { units: 1 });
  await fetch(`${api.url}/api/flash-sales/${soldOut.id}/order`, { method: 'POST', headers: { 'x-user-id': 'a' } });
  await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
  await makeSale(world, { startsAt: now - 120_000, endsAt: now - 60_000 });
  const paused = await makeSale(world);
  await fetch(`${api.url}/api/admin/sales/${paused.id}/pause`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
  });
  await eventually('the list is fresh', 2_000, async () => (await get('/api/flash-sales')).body.count === 1);
  const { status, body } = await get('/api/flash-sales');
  expect(status).toBe(200);
  expect(body).toEqual({
    flash_sales: [
      {
        id: active.id,
        name: 'Active',
        description: 'Ünïcode 秒杀',
        original_price: 199.99,
        flash_sale_price: 99.99,
        currency: 'USD',
        starts_at: new Date(active.startsAt).toISOString(),
        ends_at: new Date(active.endsAt).toISOString(),
        state: 'active',
        remaining: 10,
        per_buyer_limit: 0,
      },
    ],
    count: 1,
    server_time: expect.any(String),
  });
  expect(Math.abs(Date.parse(body.server_time) - Date.now())).toBeLessThan(2_000);
});

test('one sale, in each of its states', async () => {
  const now = Date.now();
  const scheduled = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
  const ended = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 60_000 });
  const longOver = await makeSale(world, { startsAt: now - 9_000_000, endsAt: now - 8_000_000 });
  const lost = await makeSale(world);
  await world.redis.del(world.keys.sale(lost.id).inventory);
  // Made behind the API's back: it is in the catalogue once that is read again.
  await api.connections.catalogueCache.clear();
  await eventually('the sale is known', 3_000, async () => (await get(`/api/flash-sales/${lost.id}`)).status === 200);
  for (const [sale, state] of [
    [scheduled, 'scheduled'],
    [ended, 'ended'],
    [longOver, 'ended'],
    [lost, 'recovering'],
  ] as const) {
    const { status, body } = await get(`/api/flash-sales/${sale.id}`);
    expect([status, body.product.state]).toEqual([200, state]);
    expect(body.product.remaining).toBe(state === 'recovering' ? null : 10);
  }
  const unknown = await get('/api/flash-sales/unknown');
  expect([unknown.status, unknown.body.code]).toEqual([404, 'SALE_NOT_FOUND']);
});

test('remaining units are at most a second old', async () => {
  const sale = await makeSale(world, { units: 50 });
  expect((await get(`/api/flash-sales/${sale.id}`)).body.product.remaining).toBe(50);
  for (let i = 1; i <= 3; i++) {
    await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, { method: 'POST', headers: { 'x-user-id': `b${i}` } });
    await eventually(
      'the read has caught up',
      1_000,
      async () => (await get(`/api/flash-sales/${sale.id}`)).body.product.remaining === 50 - i,
    );
  }
});

test('a crowd that reloads, of known sales and of made-up ones, costs a few commands of Redis and hardly a query', async () => {
  const sale = await makeSale(world);
  await get(`/api/flash-sales/${sale.id}`);
  const { sales, inventory } = api.connections;
  let [queries, commands] = [0, 0];
  const kept = { find: sales.find, list: sales.list, inventoryRead: inventory.read };
  const countQuery = () => {
    queries += 1;
  };
  sales.find = (id) => {
    countQuery();
    return kept.find(id);
  };
  sales.list = (filter) => {
    countQuery();
    return kept.list(filter);
  };
  const startedAt = Date.now();
  inventory.read = (id) => {
    if (id === sale.id) commands += 1;
    return kept.inventoryRead(id);
  };
  await Promise.all(Array.from({ length: 300 }, () => get(`/api/flash-sales/${sale.id}`)));
  const strangers = await Promise.all(Array.from({ length: 300 }, (_, i) => get(`/api/flash-sales/made-up-${i}`)));
  const turns = Math.ceil((Date.now() - startedAt) / 400) + 1;
  Object.assign(sales, { find: kept.find, list: kept.list });
  inventory.read = kept.inventoryRead;
  expect(strangers.every(({ status }) => status === 404)).toBe(true);
  expect(commands).toBeLessThanOrEqual(turns);
  expect(queries).toBeLessThanOrEqual(turns);
});

test('a reader whose fetch is under way as an operator changes something is answered', async () => {
  const sale = await makeSale(world);
  const bearer = { authorization: `Bearer ${ADMIN_TOKEN}` };
  for (let i = 0; i < 10; i++) {
    const reads = Array.from({ length: 20 }, () => get(`/api/flash-sales/${sale.id}`));
    const change = fetch(`${api.url}/api/admin/sales/${sale.id}/${i % 2 ? 'resume' : 'pause'}`, {
      method: 'POST',
      headers: bearer,
    });
    for (const { status } of await Promise.all(reads)) expect(status).toBe(200);
    await change;
  }
});

test('reads survive PostgreSQL: what Redis and memory hold is still told', async () => {
  const sale = await makeSale(world);
  await api.connections.catalogueCache.clear();
  await eventually('the catalogue has it', 2_000, async () => {
    await get('/api/flash-sales');
    return (await api.connections.catalogueCache.read())?.sales.some((one) => one.id === sale.id) ?? false;
  });
  // Long past the time that the catalogue counts as fresh.
  await world.redis.expire(world.keys.catalogue, 3_000);
  const { sales } = api.connections;
  const { find, list } = sales;
  const away = () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
  Object.assign(sales, { find: away, list: away });
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect((await get(`/api/flash-sales/${sale.id}`)).body.product?.id).toBe(sale.id);
  Object.assign(sales, { find, list });
});
