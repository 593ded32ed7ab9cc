/** Tests that own their world, so that they can run side by side (`test.concurrent`). */
import { test as base, inject } from 'vitest';
import { openWorld } from './world.ts';

/** `world` is closed after the test, with everything that was started in it. */
export const test = base.extend('world', async ({ task: _task }, { onCleanup }) => {
  const world = await openWorld(inject('template'));
  onCleanup(() => world.close());
  return world;
});
