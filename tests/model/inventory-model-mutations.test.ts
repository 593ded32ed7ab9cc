/**
 * What the model-based tests are able to find: each guard of the scripts is taken away, one at a time, on a connection of its own that is
 * taught the changed script. The files of lua/ stay as they are. Within these sequences fast-check must see the difference.
 */

import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { loadLuaScripts } from '@flash-sale/core/inventory/lua-script.ts';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { openWorld, type World } from '../support/world.ts';
import { inventoryProperty } from './inventory-commands.ts';
import { createInventoryUnderTest } from './inventory-under-test.ts';
import { inventoryMutations, type Mutation, windowMutations } from './mutations.ts';
import { createWindowUnderTest, windowProperty } from './window-commands.ts';

/** Sequences are looked through until one shows it: mostly the first ten, at most some hundreds. inventory-model.test.ts runs 10,000. */
const SEQUENCES_MAX = 2_000;
const TIMEOUT_MS = 180_000;

let world: World;
const scripts = new Map(loadLuaScripts().map((script) => [script.name, script]));

beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

/** Teaches the connection a script in which the text is another one. @throws where the text does not stand there exactly once */
function teach(redis: Redis, { script: name, text, becomes }: Mutation): void {
  const script = scripts.get(name);
  if (script?.source.split(text).length !== 2) throw new Error(`lua/${name}.lua does not have once: ${text}`);
  const lua = script.source.replace(text, () => becomes);
  redis.defineCommand(name, { lua, numberOfKeys: script.keys.length });
}

// Each waits for Redis most of the time.
vi.setConfig({ maxConcurrency: 10 });

let connections = 0;

async function check(
  kind: 'inventory' | 'window',
  mutation: Mutation,
  numRuns: number,
): Promise<{ failed: boolean; numRuns: number; errorInstance: unknown }> {
  const redis = new Redis(world.redisUrl);
  try {
    connections += 1;
    const prefix = `${world.prefix}:${connections}`;
    // Without shrinking: that there is a difference is all that is asked.
    const options = { numRuns, seed: 1, endOnFailure: true };
    if (kind === 'window') {
      const real = createWindowUnderTest(redis, prefix);
      teach(redis, mutation);
      return await fc.check(windowProperty(real), options);
    }
    const real = await createInventoryUnderTest({ redis, keys: createKeys(prefix) });
    teach(redis, mutation);
    return await fc.check(inventoryProperty(real), options);
  } finally {
    redis.disconnect();
  }
}

/** It is seen by a difference, also where the script breaks off and the model does not; no other fault counts. */
async function expectFound(kind: 'inventory' | 'window', mutation: Mutation): Promise<void> {
  const found = await check(kind, mutation, SEQUENCES_MAX);
  expect(found.failed, `${mutation.script} without ${mutation.without}: not seen in ${SEQUENCES_MAX} sequences`).toBe(
    true,
  );
  expect(String(found.errorInstance)).toMatch(/^ModelMismatch|@user_script/);
}

/** The invariants that the script says it keeps stand in the test's name. */
const named = (mutations: readonly Mutation[]) =>
  mutations.map((mutation) => {
    const kept = scripts.get(mutation.script)?.keeps.match(/I\d+/g) ?? [];
    const name = [...kept.map((invariant) => `[${invariant}]`), mutation.script, 'without', mutation.without].join(' ');
    return { name, mutation };
  });

describe.concurrent('the model sees it when a guard is taken away', () => {
  test.each(named(inventoryMutations))('$name', ({ mutation }) => expectFound('inventory', mutation), TIMEOUT_MS);

  test.each(named(windowMutations))('$name', ({ mutation }) => expectFound('window', mutation), TIMEOUT_MS);

  test(
    'and sees nothing where only a comment is changed',
    async () => {
      const comment = { script: 'commit', without: 'a comment', text: '-- Usually', becomes: '-- usually' };
      expect(await check('inventory', comment, 100)).toMatchObject({ failed: false });
      expect(
        await check('window', { ...comment, script: 'take-permits', text: '-- Within', becomes: '-- within' }, 100),
      ).toMatchObject({ failed: false });
    },
    TIMEOUT_MS,
  );
});
