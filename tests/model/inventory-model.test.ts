/**
 * The scripts of lua/ against a model of what the docs promise, in random sequences of commands. A
 * failure prints seed, path and the shortest sequence that shows it; `{ seed, path }` beside
 * `numRuns` runs it again. Time is part of the sequence.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest } from './inventory-under-test.ts';

const SEQUENCES = 3_000;
/** Sequences that run at a time, on one connection: while one waits for Redis, others work. */
const LANES = 50;

const world = useWorld();

test('[I1] [I2] [I4] [I5] [I6] [I7] [I8] [I11] 3,000 random sequences do to Redis what the model says', async () => {
  const inventory = await createInventoryUnderTest(world);
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    fc.assert(inventoryProperty(inventory, { forgetting: lane === 0 }), { numRuns: SEQUENCES / LANES }),
  );
  // All of them end before the connection does.
  const ended = await Promise.allSettled(lanes);
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
  // All that the scripts wrote was among the keys that were read and removed.
  expect(await world.redis.keys(`${world.prefix}:*`)).toEqual([]);
}, 180_000);
