/**
 * A random run: buyers and operators at work while parts are killed, frozen and cut off by a plan from a seed, and an independent auditor
 * that judges every reply and the end (tests/chaos). Fails where anything is oversold, leaked, lost, stuck, or a reply is a lie. The same
 * seed makes the same plan and the same decisions; real time differs.
 *
 *   npm run test:chaos -- [--minutes 10] [--seed S] [--units 1] [--buyers 24] [--apis 2] [--workers 2] [--lose-redis] [--keep-logs]
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listenForStop } from '@flash-sale/launcher/stop-requests.ts';
import { isClean, reportLines } from '../tests/chaos/report.ts';
import { runChaos } from '../tests/chaos/run-chaos.ts';
import { freshSeed } from '../tests/chaos/seeded-random.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = readArguments(import.meta.url, {
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: freshSeed() },
    units: { type: 'string', default: '1' },
    buyers: { type: 'string', default: '24' },
    apis: { type: 'string', default: '2' },
    workers: { type: 'string', default: '2' },
    'lose-redis': { type: 'boolean', default: false },
    'keep-logs': { type: 'boolean', default: false },
  },
});
const number = (name: 'minutes' | 'units' | 'buyers' | 'apis' | 'workers'): number => {
  const value = Number(values[name]);
  if (value > 0 && Number.isFinite(value)) return value;
  process.stderr.write(`--${name} must be a number above 0, and is "${values[name]}"\n`);
  process.exit(2);
};

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const stopping = new AbortController();
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
listenForStop(process, { onStop: () => stopping.abort(new Error('The run was stopped.')), onForce: () => {} });

const command = [
  `npm run test:chaos -- --seed ${values.seed} --minutes ${values.minutes}`,
  ...(['units', 'buyers', 'apis', 'workers'] as const).flatMap((name) =>
    values[name] === { units: '1', buyers: '24', apis: '2', workers: '2' }[name] ? [] : [`--${name} ${values[name]}`],
  ),
  ...(values['lose-redis'] ? ['--lose-redis'] : []),
].join(' ');
say(`seed ${values.seed}; to replay: ${command}`);

let exitCode = 1;
try {
  const report = await runChaos({
    seed: values.seed,
    totalMs: number('minutes') * 60_000,
    distFolder: join(root, '.data', 'redis-dist'),
    scale: number('units'),
    buyers: number('buyers'),
    apis: number('apis'),
    workers: number('workers'),
    loseRedis: values['lose-redis'],
    keepLogs: values['keep-logs'],
    signal: stopping.signal,
    say,
  });
  for (const line of reportLines(report)) say(line);
  for (const evidence of report.evidence) say(`\n${evidence}`);
  exitCode = isClean(report) ? 0 : 1;
  if (values['keep-logs']) say(`logs: ${report.logFolder}`);
  if (exitCode !== 0) say(`\nFAILED. Logs and all lies: ${report.logFolder}\nTo replay: ${command}`);
} catch (error) {
  const { aborted, reason } = stopping.signal;
  process.stderr.write(`${aborted ? (reason as Error).message : (error as Error).stack}\n`);
}
process.exit(exitCode);
