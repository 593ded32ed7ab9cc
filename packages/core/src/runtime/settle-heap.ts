/** What V8 keeps of a process that has loaded its code. */
import { executionAsyncResource } from 'node:async_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Objects that are kept for their hidden class. */
const kept: object[] = [];

/**
 * Frees what loading the code has left. To be called before a warm-up: a full collection drops half
 * of the code that one has optimised.
 */
export async function settleHeap(): Promise<void> {
  await keepTickClass();
  // After idle minutes V8 would drop code, and the next sale would be slow.
  setFlagsFromString('--no-flush-bytecode');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: object) => void;
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/**
 * A collection while no object of process.nextTick is alive, as in an idle process, drops their
 * hidden class. V8 then makes each of them by a slow call for good: 4 µs an order.
 */
function keepTickClass(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(() => {
      kept.push(executionAsyncResource());
      resolve();
    });
  });
}
