/**
 * npm run test:chaos -- [--minutes 10] [--seed S] [--lose-redis] [--keep-logs]
 *
 * Chaos test (tests/chaos): simulated buyers and operators send requests while processes are
 * killed, paused and disconnected by a random plan. An independent auditor checks every reply and
 * the final state. It fails if units are oversold or leaked, orders are lost or stuck, or a reply
 * is false. The same seed gives the same plan and decisions; the timing differs.
 */
import { join } from 'node:path';
import { listenForStop } from '@flash-sale/launcher/stop-requests.ts';
import { isClean, reportLines } from '../tests/chaos/report.ts';
import { runChaos } from '../tests/chaos/run-chaos.ts';
import { freshSeed } from '../tests/chaos/seeded-random.ts';
import { readArguments, root, say } from './command.ts';

const { values } = readArguments(import.meta.url, 2, {
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: freshSeed() },
    'lose-redis': { type: 'boolean', default: false },
    'keep-logs': { type: 'boolean', default: false },
  },
});
const { seed, minutes, 'lose-redis': loseRedis, 'keep-logs': keepLogs } = values;
if (!(Number(minutes) > 0 && Number.isFinite(Number(minutes)))) {
  process.stderr.write(`--minutes must be a number above 0, and is "${minutes}"\n`);
  process.exit(2);
}
const stopping = new AbortController();
listenForStop(process, { onStop: () => stopping.abort(new Error('The run was stopped.')), onForce: () => {} });
const command = `npm run test:chaos -- --seed ${seed} --minutes ${minutes}${loseRedis ? ' --lose-redis' : ''}`;
say(`seed ${seed}; to replay: ${command}`);

let exitCode = 1;
try {
  const { signal } = stopping;
  const distFolder = join(root, '.data', 'redis-dist');
  const totalMs = Number(minutes) * 60_000;
  const report = await runChaos({ seed, totalMs, distFolder, loseRedis, keepLogs, signal, say });
  for (const line of reportLines(report)) say(line);
  for (const evidence of report.evidence) say(`\n${evidence}`);
  exitCode = isClean(report) ? 0 : 1;
  if (keepLogs) say(`logs: ${report.logFolder}`);
  if (exitCode !== 0) say(`\nFAILED. Logs and all evidence: ${report.logFolder}\nTo replay: ${command}`);
} catch (error) {
  const { aborted, reason } = stopping.signal;
  process.stderr.write(`${aborted ? (reason as Error).message : (error as Error).stack}\n`);
}
process.exit(exitCode);
