/** Which runs of a recovery loop visit all sales. */
import { DependencyUnavailableError } from '@flash-sale/core/runtime/errors.ts';
import { createLoop, forEach } from '@flash-sale/worker/recovery/loop.ts';
import { pino } from 'pino';
import { expect, test, vi } from 'vitest';

const refused = new Error('the ledger refuses even to reject an order');
const outage = new DependencyUnavailableError('redis');

/** @param errors of the first runs, one each */
async function runs(count: number, errors: readonly (Error | null)[]): Promise<boolean[]> {
  const seen: boolean[] = [];
  const runOnce = async (all: boolean) => {
    const error = errors[seen.push(all) - 1];
    if (error) throw error;
  };
  const loop = createLoop({ name: 'test', intervalMs: 1, allEvery: 5, runOnce, log: pino({ level: 'silent' }) });
  loop.start();
  await vi.waitUntil(() => seen.length >= count, { interval: 1 });
  await loop.stop();
  return seen.slice(0, count);
}

test.each([
  ['every fifth run', [], [true, false, false, false, false, true]],
  ['not the run after a refused order', [null, refused, refused], [true, false, false, false, false, true]],
  ['the run after an outage', [null, outage, refused], [true, false, true, false, false, true]],
])('%s visits all sales', async (_, errors, expected) => {
  expect(await runs(expected.length, errors)).toEqual(expected);
});

test('an outage among other errors is the one that counts', async () => {
  const done: Error[] = [];
  const work = async (error: Error) => {
    done.push(error);
    throw error;
  };
  await expect(forEach([refused, outage, refused], work)).rejects.toBe(outage);
  expect(done).toHaveLength(3);
});
