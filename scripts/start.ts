/**
 * npm start -- [--watch] [--reopen]
 *
 * Runs the system until it is stopped (packages/launcher/src/start-system.ts). With --watch (npm
 * run dev), API and workers restart when their files change. --reopen starts nothing: it reopens
 * the demo sales of the running system for a day and refills them.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reopenDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { findOperator } from '@flash-sale/launcher/running-system.ts';
import { System } from '@flash-sale/launcher/start-system.ts';
import { listenForStop } from '@flash-sale/launcher/stop-requests.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { watch, reopen } = readArguments(
  import.meta.url,
  { options: { watch: { type: 'boolean', default: false }, reopen: { type: 'boolean', default: false } } },
  { wrongCode: 1 },
).values;
const say = (line: string) => process.stdout.write(`${line}\n`);
// A closed terminal or pipe (npm start | head) must not end this process before its children stop.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

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
    process.exit(error === undefined || stopping.signal.aborted ? 0 : 1);
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
    const operator = findOperator(root, process.env);
    if (operator.isProduction) throw new Error('Production has no demo sales: --reopen is for development.');
    for (const line of await reopenDemoSales(operator)) say(line);
    process.exit(0);
  }
  say('Flash sale');
  system = new System({ root, given: process.env, say, watch, signal: stopping.signal });
  await system.start();
  const failure = await Promise.race([stopRequested, system.failed]);
  await end(failure instanceof Error ? failure : undefined);
} catch (error) {
  await end(error);
}
