/**
 * Loaded before a main (`node --import`): ends a process by SIGKILL at the very moment that a step is reached.
 *   DIE_AT_FAILPOINT   the step, for example "reserve:done"
 *   DIE_AT_TIME   which time that it is reached; 1 = the first
 *   DIE_VICTIM    pid that is killed; this process where it is not set. Then this process goes on.
 */
import { subscribe } from 'node:diagnostics_channel';
import { FAILPOINT_CHANNEL } from '@flash-sale/core/runtime/failpoints.ts';

const { DIE_AT_FAILPOINT, DIE_AT_TIME = '1', DIE_VICTIM } = process.env;

let left = Number(DIE_AT_TIME);
subscribe(FAILPOINT_CHANNEL, (step) => {
  if (step !== DIE_AT_FAILPOINT) return;
  left -= 1;
  if (left !== 0) return;
  try {
    process.kill(DIE_VICTIM ? Number(DIE_VICTIM) : process.pid, 'SIGKILL');
  } catch {
    // The victim is gone already.
  }
});
