/** lua/take-permits.lua and lua/return-permits.lua: the limit of the whole system. */

import { createGlobalRateLimiter } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { openWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

let count = 0;
function makeWindow(limit: number) {
  const keys = createKeys(`${world.prefix}:${count++}`);
  return { key: keys.globalRateLimiter, window: createGlobalRateLimiter({ redis: world.redis, keys, limit }) };
}

/** Waits for the beginning of a second of Redis, so that a test does not run over the edge of one. */
async function beginningOfASecond(): Promise<void> {
  const [, microseconds] = (await world.redis.time()) as unknown as [string, string];
  await new Promise((resolve) => setTimeout(resolve, 1_005 - Number(microseconds) / 1_000));
}

test('[I9] [trap 29] 200 parallel askers get no more than the limit between them', async () => {
  const { window } = makeWindow(50);
  await beginningOfASecond();
  const all = await Promise.all(Array.from({ length: 200 }, () => window.take(1)));
  expect(all.reduce((sum, permits) => sum + permits.granted, 0)).toBe(50);
  const refused = all.find((permits) => permits.granted === 0);
  expect(refused?.waitMs).toBeGreaterThan(0);
  expect(refused?.waitMs).toBeLessThanOrEqual(1_000);
});

test('a batch gets what is left', async () => {
  const { window } = makeWindow(10);
  await beginningOfASecond();
  expect(await window.take(7)).toMatchObject({ granted: 7, remaining: 3 });
  expect(await window.take(7)).toMatchObject({ granted: 3, remaining: 0 });
});

test('the previous second counts for the part of it that still lies within the last 1,000 ms', async () => {
  const { key, window } = makeWindow(1_000);
  await beginningOfASecond();
  const [second] = (await world.redis.time()) as unknown as [string, string];
  await world.redis.hset(key, { second: Number(second) - 1, present: 1_000, previous: 0 });
  const { granted } = await window.take(1_000);
  // Only as much is free as has slid out: without that there would be a burst of twice the limit at the edge.
  const [later, microseconds] = (await world.redis.time()) as unknown as [string, string];
  const slidOut = Number(later) > Number(second) ? 1 : Number(microseconds) / 1_000_000;
  expect(granted).toBeLessThanOrEqual(Math.ceil(slidOut * 1_000));
  expect(granted).toBeLessThan(1_000);
});

test('unused permits go back to the second that they were taken in, refusals count for nothing', async () => {
  const { window } = makeWindow(10);
  await beginningOfASecond();
  const taken = await window.take(10);
  for (let i = 0; i < 50; i++) expect((await window.take(1)).granted).toBe(0);
  await window.giveBack(taken, 4);
  expect((await window.take(10)).granted).toBe(4);
});

test('its counters are gone after 5 s', async () => {
  const { key, window } = makeWindow(10);
  await window.take(1);
  const ttl = await world.redis.pttl(key);
  expect(ttl).toBeGreaterThan(4_000);
  expect(ttl).toBeLessThanOrEqual(5_000);
});

test('a clock that was set back locks nobody out', async () => {
  const { key, window } = makeWindow(10);
  await beginningOfASecond();
  const [second] = (await world.redis.time()) as unknown as [string, string];
  await world.redis.hset(key, { second: Number(second) + 3_600, present: 10, previous: 10 });
  expect((await window.take(10)).granted).toBe(10);
});

test('without a limit Redis is not asked', async () => {
  const { key, window } = makeWindow(0);
  expect((await window.take(100)).granted).toBe(-1);
  expect(await world.redis.exists(key)).toBe(0);
});
