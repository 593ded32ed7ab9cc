/**
 * Random sequences of commands run against the scripts of lua/ and against models of what the docs
 * promise; both must agree. The commands also move the clock. A failure prints seed, path and the
 * shortest sequence that shows it; to repeat it, add `{ seed, path }` next to `numRuns`.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest } from './inventory-under-test.ts';
import { clockKey, START_US, setClock, useTestClock } from './test-clock.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

const world = useWorld();

/** Concurrent lanes share one connection: while one waits for Redis, others compute. */
async function runLanes<Drawn>(
  sequences: number,
  lanes: number,
  propertyOf: (lane: number) => fc.IAsyncProperty<Drawn>,
): Promise<void> {
  const run = (lane: number) => fc.assert(propertyOf(lane), { numRuns: sequences / lanes });
  // Every lane must end before the connection is closed.
  const ended = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => run(lane)));
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
  // Each run removes the keys that it knows: the scripts wrote to no other.
  expect(await world.redis.keys(`${world.prefix}:*`)).toEqual([]);
}

test('[I1] [I2] [I4] [I5] [I6] [I7] [I8] [I11] 3,000 random sequences change Redis as the model predicts', async () => {
  const inventory = await createInventoryUnderTest(world);
  await runLanes(3_000, 50, (lane) => inventoryProperty(inventory, { forgetting: lane === 0 }));
}, 180_000);

test("[I9] 1,000 random sequences change the global rate limiter's record as its model predicts", async () => {
  await runLanes(1_000, 20, (lane) => {
    const real = createWindowUnderTest(world.redis, `${world.prefix}:${lane}`);
    useTestClock(world.redis);
    return windowProperty(real);
  });
}, 60_000);

test('[I9] a steady flood gets at least 0.95 of the limit', async () => {
  const limit = 1_000;
  const { redis, key, limiters } = createWindowUnderTest(world.redis, `${world.prefix}:flood`);
  useTestClock(redis);
  let granted = 0;
  for (let ms = 0; ms < 12_000; ms += 4) {
    await setClock(redis, key, START_US + ms * 1_000);
    const permits = await limiters.get(limit)?.take(100);
    // Ten seconds, after the burst of the first two.
    if (ms >= 2_000) granted += permits?.granted ?? 0;
  }
  await redis.del(key, clockKey(key));
  expect(granted).toBeGreaterThanOrEqual(0.95 * 10 * limit);
  expect(granted).toBeLessThanOrEqual(10 * limit);
});
