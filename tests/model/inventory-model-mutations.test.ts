/**
 * What the model-based tests can find: each guard of the scripts is removed, one at a time, on a
 * connection of its own. The files of lua/ stay as they are. Within SEQUENCES_MAX sequences the
 * model must see the difference.
 */

import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { describe, expect, test, vi } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest } from './inventory-under-test.ts';
import { inventoryMutations, type Mutation, windowMutations } from './mutations.ts';
import { keptBy, useTestClock } from './test-clock.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

/** Most mutations are seen in the first ten sequences, the rarest in some hundreds. */
const SEQUENCES_MAX = 2_000;
const TIMEOUT_MS = 180_000;

const world = useWorld();

// Each waits for Redis most of the time.
vi.setConfig({ maxConcurrency: 10 });

type Kind = 'inventory' | 'window';
let connections = 0;

async function check(
  kind: Kind,
  mutation: Mutation,
  numRuns: number,
): Promise<{ failed: boolean; errorInstance: unknown }> {
  const redis = new Redis(world.redisUrl);
  try {
    connections += 1;
    const prefix = `${world.prefix}:${connections}`;
    // Without shrinking: the question is only whether there is a difference.
    const options = { numRuns, seed: 1, endOnFailure: true };
    if (kind === 'inventory') {
      const real = await createInventoryUnderTest({ redis, keys: createKeys(prefix) }, mutation);
      return await fc.check(inventoryProperty(real), options);
    }
    const real = createWindowUnderTest(redis, prefix);
    useTestClock(redis, mutation);
    return await fc.check(windowProperty(real), options);
  } finally {
    redis.disconnect();
  }
}

/** Only a difference counts, or a script that fails while the model does not. */
async function expectFound(kind: Kind, mutation: Mutation): Promise<void> {
  const found = await check(kind, mutation, SEQUENCES_MAX);
  expect(found.failed, `not seen in ${SEQUENCES_MAX} sequences`).toBe(true);
  expect(String(found.errorInstance)).toMatch(/^ModelMismatch|@user_script/);
}

/** The test's name has the invariants that the script keeps. */
const named = (mutations: readonly Mutation[]) =>
  mutations.map((mutation) => ({
    name: [...keptBy(mutation.script).map((kept) => `[${kept}]`), mutation.script, 'without', mutation.without].join(
      ' ',
    ),
    mutation,
  }));

describe.concurrent('the model sees that a guard is removed', () => {
  test.each(named(inventoryMutations))('$name', ({ mutation }) => expectFound('inventory', mutation), TIMEOUT_MS);

  test.each(named(windowMutations))('$name', ({ mutation }) => expectFound('window', mutation), TIMEOUT_MS);

  test(
    'and sees nothing if only a comment is changed',
    async () => {
      const comment = { script: 'commit', without: 'a comment', text: '-- Usually', becomes: '-- usually' };
      expect(await check('inventory', comment, 100)).toMatchObject({ failed: false });
      const other = { script: 'take-permits', without: 'a comment', text: '-- Slots', becomes: '-- slots' };
      expect(await check('window', other, 100)).toMatchObject({ failed: false });
    },
    TIMEOUT_MS,
  );
});
