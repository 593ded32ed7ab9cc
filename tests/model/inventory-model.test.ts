/**
 * The scripts of lua/ against a model of what the docs promise: 10,000 sequences of commands, half of them the same each time, half of
 * them new. A failure prints seed, path and the shortest sequence that shows it; `{ seed, path }` beside `numRuns` runs it again.
 * What time has to do with it, and what is not covered, is said in inventory-under-test.ts.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { openWorld, type World } from '../support/world.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest, type InventoryUnderTest } from './inventory-under-test.ts';

const SEQUENCES = 5_000;
/** Sequences that are on their way at a time, on one connection: while one waits for Redis, others work. */
const LANES = 50;
const TIMEOUT_MS = 180_000;

let world: World;
let inventory: InventoryUnderTest;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  inventory = await createInventoryUnderTest(world);
});
afterAll(() => world.close());

/** @param seedOf none = fast-check takes one by chance, and prints it */
async function runLanes(seedOf?: (lane: number) => number): Promise<void> {
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    fc.assert(inventoryProperty(inventory, { forgetting: lane === 0 }), {
      numRuns: SEQUENCES / LANES,
      ...(seedOf ? { seed: seedOf(lane) } : {}),
    }),
  );
  // All of them come to an end before the connection does.
  const ended = await Promise.allSettled(lanes);
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
  // Whatever the scripts wrote was among the keys that were looked at and removed.
  expect(await world.redis.keys(`${world.prefix}:*`)).toEqual([]);
}

const INVARIANTS = '[I1] [I2] [I4] [I5] [I6] [I7] [I8] [I11]';

test(
  `${INVARIANTS} 5,000 sequences, the same each time, do to Redis what the model says`,
  () => runLanes((lane) => lane + 1),
  TIMEOUT_MS,
);

test(
  `${INVARIANTS} 5,000 sequences that were never tried do to Redis what the model says`,
  () => runLanes(),
  TIMEOUT_MS,
);
