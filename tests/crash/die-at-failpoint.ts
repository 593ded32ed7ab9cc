/**
 * Preloaded into a service (`node --import`): sends SIGKILL when a failpoint is reached.
 *   DIE_AT_FAILPOINT, DIE_AT_TIME   to this process, when it is reached for the n-th time
 *   a message { arm }               to a server; this process continues, and can be armed again
 */
import { subscribe } from 'node:diagnostics_channel';
import { FAILPOINT_CHANNEL } from '@flash-sale/core/runtime/failpoints.ts';

export interface Arm {
  readonly failpoint: string;
  /** How many times it is to be reached. */
  readonly times: number;
  readonly victim: number;
}

const { DIE_AT_FAILPOINT, DIE_AT_TIME } = process.env;

let armed: Arm | null = DIE_AT_FAILPOINT
  ? { failpoint: DIE_AT_FAILPOINT, times: Number(DIE_AT_TIME), victim: process.pid }
  : null;
let reached = 0;

process.on('message', ({ arm }: { arm?: Arm }) => {
  if (!arm) return;
  armed = arm;
  reached = 0;
});

subscribe(FAILPOINT_CHANNEL, (failpoint) => {
  if (armed === null || failpoint !== armed.failpoint) return;
  reached += 1;
  if (reached < armed.times) return;
  const { victim } = armed;
  armed = null;
  try {
    process.kill(victim, 'SIGKILL');
  } catch {
    // The victim is gone already.
  }
});
