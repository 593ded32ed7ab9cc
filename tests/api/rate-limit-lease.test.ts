/** Permits taken ahead: within the limit, without a round trip, returned if unused. */

import { setTimeout as pause } from 'node:timers/promises';
import { createRateLimitLease, LEASE_FACTOR, LEASE_MS } from '@flash-sale/api/orders/rate-limit-lease.ts';
import { createGlobalRateLimiter, type Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { describe, expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { eventually } from '../support/world.ts';

/** A window with `free` permits, and a clock that the test moves. */
function played({ free = 2_000, limit = 2_000 } = {}) {
  const asked: number[] = [];
  const returned: number[] = [];
  const clock = { at: 0 };
  const lease = createRateLimitLease(
    {
      limit,
      async take(wanted): Promise<Permits> {
        asked.push(wanted);
        const granted = Math.min(wanted, free);
        free -= granted;
        return { granted, slot: 7, remaining: free, waitMs: granted < wanted ? 100 : 0 };
      },
      async giveBack(_permits, unused) {
        returned.push(unused);
      },
    },
    () => clock.at,
  );
  // From the second turn on, turns are close enough for a lease.
  void lease.take(0);
  asked.length = 0;
  return { lease, asked, returned, clock };
}

describe('a lease', () => {
  test('is not made for a turn that comes alone', async () => {
    const { lease, asked, returned, clock } = played();
    for (clock.at = LEASE_MS; clock.at < 10 * LEASE_MS; clock.at += LEASE_MS) await lease.take(1);
    expect([new Set(asked), returned]).toEqual([new Set([1]), []]);
  });

  test('lets the next turns through without asking', async () => {
    const { lease, asked } = played();
    for (let i = 0; i <= LEASE_FACTOR; i++) expect((await lease.take(2)).granted).toBe(2);
    expect(asked).toEqual([2 + 2 * LEASE_FACTOR]);
    await lease.take(2);
    expect(asked.length).toBe(2);
  });

  test('takes no more than a fiftieth of the limit ahead', async () => {
    const { lease, asked } = played({ limit: 100 });
    await lease.take(50);
    expect(asked).toEqual([52]);
  });

  test('ends with its time; unused permits are returned', async () => {
    const { lease, asked, returned, clock } = played();
    await lease.take(1);
    clock.at = LEASE_MS - 1;
    await lease.take(1);
    clock.at = LEASE_MS;
    await lease.take(1);
    expect([asked.length, returned]).toEqual([2, [LEASE_FACTOR - 1]]);
  });

  test('ends by itself if nobody asks any more', async () => {
    const { lease, returned } = played();
    await lease.take(1);
    await eventually('it goes back', 2_000, () => returned.length > 0);
    expect(returned).toEqual([LEASE_FACTOR]);
  });

  test('is not made if the window gives less than is needed', async () => {
    const { lease, asked } = played({ free: 3 });
    expect(await lease.take(5)).toMatchObject({ granted: 3, waitMs: 100 });
    expect(await lease.take(1)).toMatchObject({ granted: 0 });
    expect(asked.length).toBe(2);
  });

  test('is used up before more is asked for', async () => {
    const { lease, asked, returned } = played({ limit: 500 });
    await lease.take(6);
    await lease.take(8);
    await lease.take(8);
    // Ten ahead: two were left for the third turn, which asked for six more.
    expect([asked, returned]).toEqual([[16, 16], []]);
  });

  test('covers what a concurrent call did not get', async () => {
    const { lease, asked } = played({ free: 30, limit: 10_000 });
    const both = await Promise.all([lease.take(4), lease.take(4)]);
    // The first took all that was left, to have some ahead; the second found nothing.
    expect(asked).toEqual([36, 36]);
    expect(both.map(({ granted }) => granted)).toEqual([4, 4]);
  });

  test('takes back what a call did not use', async () => {
    const { lease, returned, asked } = played();
    const permits = await lease.take(10);
    await lease.giveBack(permits, 10);
    for (let i = 0; i <= LEASE_FACTOR; i++) await lease.take(2);
    expect([asked.length, returned]).toEqual([1, []]);
  });
});

const world = useWorld();

/** Most in any so many ms. @param passed ms and orders, by time */
function mostIn(ms: number, passed: readonly (readonly [atMs: number, orders: number])[]): number {
  let most = 0;
  let from = 0;
  let sum = 0;
  for (const [at, orders] of passed) {
    sum += orders;
    while ((passed[from] as [number, number])[0] <= at - ms) sum -= (passed[from++] as [number, number])[1];
    most = Math.max(most, sum);
  }
  return most;
}

test('[I9] a crowd that comes after silence, at any time of a second, gets no more than the limit in any 1,000 ms', async () => {
  const limit = 1_000;
  const window = createGlobalRateLimiter({ redis: world.redis, keys: world.keys, limit });
  const leases = Array.from({ length: 16 }, () => createRateLimitLease(window));
  const [, microseconds] = (await world.redis.time()) as unknown as [string, string];
  await pause((1_950 - Number(microseconds) / 1_000) % 1_000);
  const passed: [number, number][] = [];
  const startedAt = performance.now();
  let at = startedAt;
  let longestTurnMs = 0;
  while (at < startedAt + 2_600) {
    const turnAt = performance.now();
    for (const { granted } of await Promise.all(leases.map((lease) => lease.take(5)))) {
      at = performance.now();
      passed.push([at, granted]);
    }
    longestTurnMs = Math.max(longestTurnMs, at - turnAt);
    await pause(1);
  }
  // An order passed in its turn: on a busy machine, that much before it is counted.
  expect(mostIn(1_000 - longestTurnMs, passed)).toBeLessThanOrEqual(limit);
  expect(passed.reduce((sum, [, orders]) => sum + orders, 0)).toBeGreaterThan(2 * limit);
});
