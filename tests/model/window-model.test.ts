/** lua/take-permits.lua and lua/return-permits.lua against a model of the system's window: 3,000 sequences of commands. */
import fc from 'fast-check';
import { afterAll, beforeAll, inject, test } from 'vitest';
import { openWorld, type World } from '../support/world.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

/** Of each kind: the same each time, and such as were never tried. */
const SEQUENCES = 1_500;
const LANES = 30;

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

async function runLanes(seedOf?: (lane: number) => number): Promise<void> {
  const lanes = Array.from({ length: LANES }, (_, lane) =>
    fc.assert(windowProperty(createWindowUnderTest(world.redis, `${world.prefix}:${lane}`)), {
      numRuns: SEQUENCES / LANES,
      ...(seedOf ? { seed: seedOf(lane) } : {}),
    }),
  );
  const ended = await Promise.allSettled(lanes);
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
}

test(
  "[I9] 1,500 sequences, the same each time, leave the system's window as the model says",
  () => runLanes((lane) => lane + 1),
  120_000,
);

test(
  "[I9] 1,500 sequences that were never tried leave the system's window as the model says",
  () => runLanes(),
  120_000,
);
