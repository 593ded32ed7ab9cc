/** Refusals from process memory: they cost Redis nothing, and end as soon as their reason does. */
import { REFUSAL_CACHE_MS } from '@flash-sale/api/orders/refusal-cache.ts';
import { describe, expect, test, vi } from 'vitest';
import { type Answer, times, useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

/** In which a token is refilled. */
const TOKEN_MS = 500;
const LIMITS = { RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 1_000 / TOKEN_MS, GLOBAL_RATE_LIMIT: 1_000 };

const world = useWorld();
const api = useApi(world, () => LIMITS);
/** Another process: what happens in it must reach the first one. */
const other = useApi(world, () => LIMITS);

let buyers = 0;
const order = (saleId: string, buyer = `buyer${++buyers}`, key = '') => api.order(saleId, { buyer, key });
const operate = (saleId: string, path: string, body: object = {}) =>
  other.admin('POST', `/sales/${saleId}/${path}`, body);

/** A sale of one unit that is sold, and whose SOLD_OUT is cached. */
async function soldOut() {
  const sale = await makeSale(world, { units: 1 });
  const { body } = await order(sale.id, 'winner', 'k');
  expect((await order(sale.id)).word).toBe('400 SOLD_OUT');
  return { ...sale, orderId: body.order_id as string, inventoryKey: world.keys.sale(sale.id).inventory };
}

/** @returns ms until an order is accepted */
async function msUntilAccepted(ask: () => Promise<Answer>): Promise<number> {
  const startedAt = performance.now();
  await eventually('an order is accepted', 3_000, async () => (await ask()).word === '200 accepted');
  return performance.now() - startedAt;
}

test('a crowd gets SOLD_OUT without a call to Redis', async () => {
  const sale = await soldOut();
  const reserve = vi.spyOn(api.connections.inventory, 'reserve');
  const startedAt = performance.now();
  const replies: Answer[] = [];
  for (let i = 0; i < 20; i++) replies.push(...(await times(25, () => order(sale.id))));
  expect(replies.map(({ word }) => word)).toEqual(Array(500).fill('400 SOLD_OUT'));
  expect(replies[0]?.body).toMatchObject({ available: 0, retryable: true, status: 400, title: 'Bad Request' });
  expect(replies[0]?.body.request_id).not.toBe(replies[1]?.body.request_id);
  // Once in REFUSAL_CACHE_MS those who arrive just then may pass.
  const periods = 1 + Math.floor((performance.now() - startedAt) / REFUSAL_CACHE_MS);
  const passed = reserve.mock.calls.reduce((sum, [, orders]) => sum + orders.length, 0);
  expect(passed).toBeLessThanOrEqual(25 * periods);
});

test('a body that is too large is a 413, also for a sold-out sale', async () => {
  const sale = await soldOut();
  expect((await api.order(sale.id, { body: ' '.repeat(64 * 1_024) })).word).toBe('413 BODY_TOO_LARGE');
});

describe('[trap 25] a unit that comes back can be ordered at once, also through another process', () => {
  test('when an operator adds it', async () => {
    const sale = await soldOut();
    expect((await operate(sale.id, 'stock', { delta: 1, reason: 'one more' })).status).toBe(200);
    // The invalidation is on its way as the operator is answered.
    expect(await msUntilAccepted(() => order(sale.id))).toBeLessThan(300);
  });

  test('when an order is released', async () => {
    const sale = await soldOut();
    expect(await other.connections.inventory.release(sale.id, 1, [sale.orderId])).toBe(1);
    expect(await msUntilAccepted(() => order(sale.id))).toBeLessThan(300);
  });

  test('within a second when the invalidation is lost; control: until then the cached refusal is returned', async () => {
    const sale = await soldOut();
    await world.redis.hincrby(sale.inventoryKey, 'available', 1);
    await world.redis.hincrby(sale.inventoryKey, 'allotment', 1);
    expect((await order(sale.id)).word).toBe('400 SOLD_OUT');
    expect(await msUntilAccepted(() => order(sale.id))).toBeLessThan(1_000);
  });
});

test('[trap 26] a retry of the request that won gets its order, not SOLD_OUT', async () => {
  const sale = await soldOut();
  const again = await order(sale.id, 'winner', 'k');
  expect(again.body).toMatchObject({ replayed: true, order_id: sale.orderId });
});

test('a sale that is not open yet opens on time', async () => {
  const opensAt = Date.now() + 700;
  const sale = await makeSale(world, { startsAt: opensAt });
  const { word, headers } = await order(sale.id);
  expect([word, headers.get('retry-after')]).toEqual(['400 SALE_NOT_OPEN', '1']);
  await msUntilAccepted(() => order(sale.id));
  const late = Date.now() - opensAt;
  // Redis and this process share a clock here; the test asks every 25 ms.
  expect(late).toBeGreaterThan(-5);
  expect(late).toBeLessThan(250);
});

test('a pause, an end and a moved window reach every process at once', async () => {
  const sale = await makeSale(world);
  await operate(sale.id, 'pause');
  expect((await order(sale.id)).word).toBe('400 SALE_PAUSED');
  await operate(sale.id, 'resume');
  expect(await msUntilAccepted(() => order(sale.id))).toBeLessThan(300);
  const over = await makeSale(world, { startsAt: Date.now() - 5_000, endsAt: Date.now() - 1_000 });
  expect((await order(over.id)).word).toBe('400 SALE_ENDED');
  const [startsAt, endsAt] = [over.startsAt, Date.now() + 60_000].map((ms) => new Date(ms).toISOString());
  expect((await operate(over.id, 'window', { starts_at: startsAt, ends_at: endsAt })).status).toBe(200);
  expect(await msUntilAccepted(() => order(over.id))).toBeLessThan(300);
});

test('a throttled buyer is refused from the cache until the next token is due, and others are served', async () => {
  const sale = await makeSale(world, { units: 100 });
  const flood = () => order(sale.id, 'flooder');
  const begunAt = performance.now();
  for (let i = 0; i < 2; i++) expect((await flood()).word).toBe('200 accepted');
  const { word, headers } = await flood();
  expect([word, headers.get('retry-after')]).toEqual(['429 BUYER_RATE_LIMITED', '1']);
  const replies = await times(200, flood);
  // None passes, unless the machine stood still until the next token.
  const tokens = Math.floor((performance.now() - begunAt) / TOKEN_MS);
  const passed = replies.filter((reply) => reply.word === '200 accepted').length;
  expect(passed).toBeLessThanOrEqual(tokens);
  expect(replies.filter((reply) => reply.word === '429 BUYER_RATE_LIMITED')).toHaveLength(200 - passed);
  expect(await api.available(sale.id)).toBe(98 - passed);
  expect((await order(sale.id)).word).toBe('200 accepted');
  expect(await msUntilAccepted(flood)).toBeLessThan(1_000);
});
