/** lua/take-permits.lua and lua/return-permits.lua against a model of the global rate limiter. */

import fc from 'fast-check';
import { test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { useTestClock } from './test-clock.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

const SEQUENCES = 1_000;
/** Sequences that run at a time: while one waits for Redis, others work. */
const LANES = 20;

const world = useWorld();

test("[I9] 1,000 random sequences leave the global rate limiter's record as the model says", async () => {
  const lanes = Array.from({ length: LANES }, (_, lane) => {
    const real = createWindowUnderTest(world.redis, `${world.prefix}:${lane}`);
    useTestClock(world.redis);
    return fc.assert(windowProperty(real), { numRuns: SEQUENCES / LANES });
  });
  const ended = await Promise.allSettled(lanes);
  for (const lane of ended) if (lane.status === 'rejected') throw lane.reason;
}, 60_000);
