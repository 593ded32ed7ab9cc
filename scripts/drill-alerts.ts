/**
 * The drill of the alerts: each one of monitoring/ is made to fire by the trouble that it is for, on real processes under a real Prometheus, and
 * must end when the trouble does. Everything runs on servers of its own on the loopback, and is gone afterwards. The exit code is 1 where one
 * did not fire or did not end. With --write the page in docs/measurements is made.
 *
 *   npm run drill:alerts -- [--only <alert>] [--write]
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HURRY } from '../tests/alerts-drill/hurried.ts';
import { alertNames, drillAlerts, type Fired } from '../tests/alerts-drill/run-drill.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const seconds = (count: number | null): string => count?.toFixed(1) ?? 'not';

function table(results: readonly Fired[]): string[] {
  const names = alertNames();
  const inOrder = results.toSorted((a, b) => names.indexOf(a.alert) - names.indexOf(b.alert));
  const rows = inOrder.map(
    ({ alert, what, firedAfterS, endedAfterS, value, others }) =>
      `| [${alert}](../running/alerts.md#${alert.toLowerCase()}) | ${what} | ${seconds(firedAfterS)} | ${seconds(endedAfterS)} | ${value} | ${others.join(', ')} |`,
  );
  return [
    '| alert | trouble | fires after s | ends after s | value | beside it |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ];
}

function page(results: readonly Fired[], tookS: number): string {
  return `# Every alert, fired for real

An API, a worker, a Redis and a PostgreSQL of their own, a crowd of forty orders a second, and a Prometheus with the rules of
[monitoring/alerts](../../monitoring/alerts). As long as nothing is wrong nothing fires. Then one trouble after the other is made, awaited until
Prometheus says that its alerts fire, and undone until it says that they are over.

What a rule waits for (\`for:\`) and looks back over (\`[1m]\`) is divided by ${HURRY}, and Prometheus looks at the rules every second and at the processes
every two: so the seconds below are not those of a sale. **The expressions and their thresholds are those of the files.** To reach them on one machine
the API and the worker have small bounds: \`OVERLOAD_IN_FLIGHT=100\`, \`BACKLOG_LIMIT=400\`; Redis has 64 MiB where its memory is to be used up, the API a control group, and
its log a small disk. Where others keep the processors busy \`CpuHigh\` and \`RedisCpuHigh\` cannot be reached: run it on a machine of its own.

${table(results).join('\n')}

_Value_ is that of the rule's expression as it fired: what each one counts stands in [alerts](../running/alerts.md). _Beside it_ is what
the same trouble makes fire, too: who is woken by one of them looks for the others. The whole drill took ${Math.round(tookS)} s; it fails where an alert does not fire or does not end.

${measuredBy('pnpm drill:alerts --write')}`;
}

async function drill(only: string | null, write: boolean): Promise<boolean> {
  const startedAt = performance.now();
  const results = await drillAlerts({ only, distFolder: join(root, '.data', 'redis-dist'), say });
  const tookS = (performance.now() - startedAt) / 1_000;
  const faults = results.filter(({ fault }) => fault !== null);
  say('');
  for (const { alert, firedAfterS, endedAfterS, value } of results)
    say(`${alert.padEnd(24)} fires after ${seconds(firedAfterS)} s, ends after ${seconds(endedAfterS)} s   ${value}`);
  for (const { alert, fault } of faults) say(`FAULT: ${alert}: ${fault}`);
  say(`${results.length - faults.length} of ${results.length} alerts fired and ended, in ${Math.round(tookS)} s`);
  if (write && faults.length === 0)
    writeFileSync(join(root, 'docs', 'measurements', 'alerts-drill.md'), page(results, tookS));
  return faults.length === 0;
}

try {
  const { values } = readArguments(import.meta.url, {
    options: { only: { type: 'string' }, write: { type: 'boolean', default: false } },
  });
  const { only = null, write } = values;
  if (only !== null && !alertNames().includes(only))
    throw new Error(`There is no alert ${only}. These are: ${alertNames().join(', ')}.`);
  if (only !== null && write) throw new Error('--write makes the page of all alerts: leave --only away.');
  process.exitCode = (await drill(only, write)) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
