/**
 * The scripts of lua/ against models of what the docs promise, in random sequences of commands. A
 * failure prints seed, path and the shortest sequence that shows it; `{ seed, path }` beside
 * `numRuns` runs it again. Time is part of the sequence.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest } from './inventory-under-test.ts';
import { useTestClock } from './test-clock.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

const world = useWorld();

/** Runs sequences in lanes at a time, on one connection: while one waits for Redis, others work. */
async function runLanes<Drawn>(
  sequences: number,
  lanes: number,
  propertyOf: (lane: number) => fc.IAsyncProperty<Drawn>,
): Promise<void> {
  const run = (lane: number) => fc.assert(propertyOf(lane), { numRuns: sequences / lanes });
  // All of them end before the connection does.
  const ended = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => run(lane)));
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
  // All that the scripts wrote was among the keys that were read and removed.
  expect(await world.redis.keys(`${world.prefix}:*`)).toEqual([]);
}

test('[I1] [I2] [I4] [I5] [I6] [I7] [I8] [I11] 3,000 random sequences do to Redis what the model says', async () => {
  const inventory = await createInventoryUnderTest(world);
  await runLanes(3_000, 50, (lane) => inventoryProperty(inventory, { forgetting: lane === 0 }));
}, 180_000);

test("[I9] 1,000 random sequences leave the global rate limiter's record as the model says", async () => {
  await runLanes(1_000, 20, (lane) => {
    const real = createWindowUnderTest(world.redis, `${world.prefix}:${lane}`);
    useTestClock(world.redis);
    return windowProperty(real);
  });
}, 60_000);
