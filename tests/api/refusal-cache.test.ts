/** Refusals from process memory: they cost Redis nothing, and end as soon as their reason does. */

import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { ADMIN_TOKEN, type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
/** Two processes' worth: what happens through the one must reach the other. */
let api: RunningApi;
let other: RunningApi;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  const limits = { RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 1_000 / TOKEN_MS, GLOBAL_RATE_LIMIT: 1_000 };
  [api, other] = await Promise.all([startApi(world, limits), startApi(world, limits)]);
});
afterAll(async () => {
  await Promise.all([api.close(), other.close()]);
  await world.close();
});

/** In which a token comes back. */
const TOKEN_MS = 500;
let buyers = 0;

async function order(saleId: string, { buyer = `buyer${++buyers}`, key = '', through = api } = {}): Promise<AnyJson> {
  const headers = { 'x-user-id': buyer, ...(key === '' ? {} : { 'idempotency-key': key }) };
  const response = await fetch(`${through.url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers });
  return { ...((await response.json()) as AnyJson), retryAfter: response.headers.get('retry-after') };
}

const operate = (saleId: string, path: string, body: object, through = other): Promise<Response> =>
  fetch(`${through.url}/api/admin/sales/${saleId}/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

/** Script calls that Redis has seen so far, of everybody. */
async function scriptCalls(): Promise<number> {
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(await world.redis.info('commandstats'))?.[1] ?? 0);
}

/** One after the other, until the word changes or the time is up. @returns ms that it took */
async function msUntil(word: string, ask: () => Promise<AnyJson>): Promise<number> {
  const startedAt = performance.now();
  await eventually(`an order is told ${word}`, 3_000, async () => {
    const reply = await ask();
    return (reply.code ?? reply.status) === word;
  });
  return performance.now() - startedAt;
}

test('a crowd gets SOLD_OUT without a call to Redis', async () => {
  const sale = await makeSale(world, { units: 1 });
  expect((await order(sale.id)).status).toBe('accepted');
  const before = await scriptCalls();
  const replies: AnyJson[] = [];
  for (let i = 0; i < 20; i++) replies.push(...(await Promise.all(Array.from({ length: 25 }, () => order(sale.id)))));
  expect(replies.map((reply) => reply.code)).toEqual(Array(500).fill('SOLD_OUT'));
  expect(replies[0]).toMatchObject({ available: 0, retryable: true, status: 400, title: 'Bad Request' });
  expect(replies[0]?.request_id).not.toBe(replies[1]?.request_id);
  // Once in REFUSAL_CACHE_MS for those who arrive just then; other tests run on the same Redis.
  expect((await scriptCalls()) - before).toBeLessThan(250);
});

test('a body that is too large is a 413 also when the sale is sold out', async () => {
  const sale = await makeSale(world, { units: 1 });
  await order(sale.id);
  expect((await order(sale.id)).code).toBe('SOLD_OUT');
  const response = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
    method: 'POST',
    headers: { 'x-user-id': 'large', 'content-type': 'application/json' },
    body: ' '.repeat(64 * 1024),
  });
  expect([response.status, ((await response.json()) as AnyJson).code]).toEqual([413, 'BODY_TOO_LARGE']);
});

describe('[trap 25] a unit that comes back can be ordered at once, also through another process', () => {
  test('an operator adds one', async () => {
    const sale = await makeSale(world, { units: 1 });
    await order(sale.id);
    expect((await order(sale.id)).code).toBe('SOLD_OUT');
    expect((await operate(sale.id, 'stock', { delta: 1, reason: 'one more' })).status).toBe(200);
    // The invalidation is on its way as the operator is answered.
    expect(await msUntil('accepted', () => order(sale.id))).toBeLessThan(300);
  });

  test('an order is released', async () => {
    const sale = await makeSale(world, { units: 1 });
    const { order_id: id } = await order(sale.id);
    expect((await order(sale.id)).code).toBe('SOLD_OUT');
    expect(await other.connections.inventory.release(sale.id, 1, [id])).toBe(1);
    expect(await msUntil('accepted', () => order(sale.id))).toBeLessThan(300);
  });

  test('the invalidation is lost: within a second all the same', async () => {
    const sale = await makeSale(world, { units: 1 });
    await order(sale.id);
    expect((await order(sale.id)).code).toBe('SOLD_OUT');
    const aside = new Redis(world.redisUrl);
    const names = world.keys.sale(sale.id);
    // A unit that comes back without an invalidation.
    await aside.hincrby(names.inventory, 'available', 1);
    await aside.hincrby(names.inventory, 'allotment', 1);
    expect(await msUntil('accepted', () => order(sale.id))).toBeLessThan(1_000);
    aside.disconnect();
  });

  test('control: without an invalidation, the cached refusal is returned', async () => {
    const sale = await makeSale(world, { units: 1 });
    await order(sale.id);
    const before = await order(sale.id);
    await world.redis.hincrby(world.keys.sale(sale.id).inventory, 'available', 1);
    expect([before.code, (await order(sale.id)).code]).toEqual(['SOLD_OUT', 'SOLD_OUT']);
  });
});

test('[trap 26] a retry of the request that won gets its order, not SOLD_OUT', async () => {
  const sale = await makeSale(world, { units: 1 });
  const first = await order(sale.id, { buyer: 'ann', key: 'k' });
  expect((await order(sale.id)).code).toBe('SOLD_OUT');
  const again = await order(sale.id, { buyer: 'ann', key: 'k' });
  expect(again).toMatchObject({ status: 'accepted', order_id: first.order_id });
});

test('a sale that is not open yet opens on time', async () => {
  const opensAt = Date.now() + 700;
  const sale = await makeSale(world, { startsAt: opensAt });
  expect(await order(sale.id)).toMatchObject({ code: 'SALE_NOT_OPEN', retryAfter: '1' });
  await msUntil('accepted', () => order(sale.id));
  const late = Date.now() - opensAt;
  // Redis and this process share a clock here; a turn of the poll is 25 ms.
  expect(late).toBeGreaterThan(-5);
  expect(late).toBeLessThan(250);
});

test('a pause, an end and a moved window reach every process at once', async () => {
  const sale = await makeSale(world);
  expect((await operate(sale.id, 'pause', {})).status).toBe(200);
  expect((await order(sale.id)).code).toBe('SALE_PAUSED');
  expect((await operate(sale.id, 'resume', {})).status).toBe(200);
  expect(await msUntil('accepted', () => order(sale.id))).toBeLessThan(300);
  const over = await makeSale(world, { startsAt: Date.now() - 5_000, endsAt: Date.now() - 1_000 });
  expect((await order(over.id)).code).toBe('SALE_ENDED');
  const moved = {
    starts_at: new Date(over.startsAt).toISOString(),
    ends_at: new Date(Date.now() + 60_000).toISOString(),
  };
  expect((await operate(over.id, 'window', moved)).status).toBe(200);
  expect(await msUntil('accepted', () => order(over.id))).toBeLessThan(300);
});

test('a throttled buyer is refused from the cache until the next token is due, and others are served', async () => {
  const sale = await makeSale(world, { units: 100 });
  const begunAt = performance.now();
  for (let i = 0; i < 2; i++) expect((await order(sale.id, { buyer: 'flooder' })).status).toBe('accepted');
  expect(await order(sale.id, { buyer: 'flooder' })).toMatchObject({ code: 'BUYER_RATE_LIMITED', retryAfter: '1' });
  const reserves = async (): Promise<number> => (await api.connections.inventory.read(sale.id)).numbers?.reserved ?? 0;
  const before = await reserves();
  const flood = await Promise.all(Array.from({ length: 200 }, () => order(sale.id, { buyer: 'flooder' })));
  // None, unless the machine stood still until the next token.
  const tokens = Math.floor((performance.now() - begunAt) / TOKEN_MS);
  const passed = flood.filter((reply) => reply.status === 'accepted').length;
  expect(passed).toBeLessThanOrEqual(tokens);
  expect(flood.filter((reply) => reply.code === 'BUYER_RATE_LIMITED')).toHaveLength(200 - passed);
  expect(await reserves()).toBe(before + passed);
  expect((await order(sale.id)).status).toBe('accepted');
  expect(await msUntil('accepted', () => order(sale.id, { buyer: 'flooder' }))).toBeLessThan(1_000);
});
