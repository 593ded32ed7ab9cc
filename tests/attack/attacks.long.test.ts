/** Every attack, one after the other, against a system of its own; after each, good buyers are served and the sales add up. */
import { expect, test } from 'vitest';
import { runAttacks } from './run-attacks.ts';

test('every attack is bounded and refused', async () => {
  const outcomes = await runAttacks();
  expect(outcomes.length).toBeGreaterThan(20);
  expect(outcomes.filter(({ holds }) => !holds)).toEqual([]);
}, 1_800_000);
