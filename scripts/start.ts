/**
 * npm start -- [--watch] [--reopen]
 *
 * Runs the system until it is stopped (packages/launcher/src/start-system.ts). With --watch (npm
 * run dev), API and workers restart when their files change. --reopen starts nothing: it reopens
 * the demo sales of the running system for a day and refills them.
 */
import { EnvironmentError } from '@flash-sale/core/config/environment.ts';
import { UnfitServerError } from '@flash-sale/core/runtime/unfit-server.ts';
import { reopenDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { EX_CONFIG } from '@flash-sale/launcher/keep-process.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { System } from '@flash-sale/launcher/start-system.ts';
import { listenForStop } from '@flash-sale/launcher/stop-requests.ts';
import { readArguments, root, say } from './command.ts';

const options = { watch: { type: 'boolean', default: false }, reopen: { type: 'boolean', default: false } } as const;
const { watch, reopen } = readArguments(import.meta.url, 1, { options }).values;

let system: System | undefined;
const stopping = new AbortController();
const stopRequested = new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve()));

listenForStop(process, {
  onStop: (reason) => {
    say(`\nStopping (${reason}) …`);
    stopping.abort(new Error('stopped'));
  },
  onForce: () => {
    say('Stopped by force.');
    system?.kill();
    process.exit(1);
  },
});
process.on('uncaughtException', (error) => void end(error));

async function end(error?: unknown): Promise<void> {
  if (error !== undefined && !stopping.signal.aborted) process.stderr.write(`\n${explain(error)}\n`);
  try {
    await system?.stop();
    if (stopping.signal.aborted) say('Stopped.');
  } finally {
    const isFine = error === undefined || stopping.signal.aborted;
    const isOfConfiguration = error instanceof EnvironmentError || error instanceof UnfitServerError;
    process.exit(isFine ? 0 : isOfConfiguration ? EX_CONFIG : 1);
  }
}

/** A message for people; a bug of ours is shown with its stack. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isFault = error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
  return isFault ? (error.stack ?? error.message) : error.message;
}

try {
  if (reopen) {
    const { adminUrl, environment } = findSystem(root, process.env, 'ADMIN_TOKEN');
    const { ADMIN_TOKEN: adminToken, DEMO_SALES } = environment;
    if (DEMO_SALES === 'off') throw new Error('This system has no demo sales to reopen (DEMO_SALES=off).');
    for (const line of await reopenDemoSales({ adminUrl, adminToken })) say(line);
    process.exit(0);
  }
  say('Flash sale');
  system = new System({ root, given: process.env, say, watch, signal: stopping.signal });
  await system.start();
  await stopRequested;
  await end();
} catch (error) {
  await end(error);
}
