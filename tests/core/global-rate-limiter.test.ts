/**
 * The global rate limiter with parallel calls and Redis' own clock. Single decisions are in
 * tests/model.
 */

import { createGlobalRateLimiter } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';

const world = useWorld();

let count = 0;
function makeWindow(limit: number) {
  const keys = createKeys(`${world.prefix}:${count++}`);
  return { key: keys.globalRateLimiter, window: createGlobalRateLimiter({ redis: world.redis, keys, limit }) };
}

/** Waits for the start of a second of Redis, so that the test stays within it. */
async function beginningOfASecond(): Promise<void> {
  const [, microseconds] = (await world.redis.time()) as unknown as [string, string];
  await new Promise((resolve) => setTimeout(resolve, 1_005 - Number(microseconds) / 1_000));
}

test('[I9] [trap 29] 200 parallel calls get no more than the limit', async () => {
  const { window } = makeWindow(50);
  await beginningOfASecond();
  const all = await Promise.all(Array.from({ length: 200 }, () => window.take(1)));
  expect(all.reduce((sum, permits) => sum + permits.granted, 0)).toBe(50);
  const refused = all.find((permits) => permits.granted === 0);
  expect(refused?.waitMs).toBeGreaterThan(0);
  expect(refused?.waitMs).toBeLessThanOrEqual(1_000);
});

test('without a limit Redis is not called', async () => {
  const { key, window } = makeWindow(0);
  expect((await window.take(100)).granted).toBe(-1);
  expect(await world.redis.exists(key)).toBe(0);
});
