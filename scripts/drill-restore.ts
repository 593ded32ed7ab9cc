/**
 * The drill of losing everything: a sale half over, its machines lost, restored on empty ones by the documented commands, and sold to the end.
 * Fails where an accepted order is lost, more or less than the units is confirmed, or the audit is not clean. Twice: Redis, PostgreSQL, API and
 * worker lost; and PostgreSQL alone, while Redis lives on. With --write the page in docs/measurements is made.
 *
 *   npm run drill:restore -- [--units 5000] [--rate 400] [--write]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DrillReport, drillRestore } from '../tests/support/restore-drill.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = readArguments(import.meta.url, {
  options: {
    units: { type: 'string', default: '5000' },
    rate: { type: 'string', default: '400' },
    write: { type: 'boolean', default: false },
  },
});
const [units, ordersPerSecond] = [Number(values.units), Number(values.rate)];

const DRILLS = [
  { lost: 'both', name: 'Redis, PostgreSQL, API and worker lost' },
  { lost: 'ledger', name: 'PostgreSQL lost, Redis lives on' },
] as const;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function faultsOf({ confirmed, rejected, lostInTheEnd }: DrillReport): string[] {
  return [
    ...(confirmed === units ? [] : [`${confirmed} confirmed, not ${units}`]),
    ...(rejected === 0 ? [] : [`${rejected} accepted orders were rejected`]),
    ...(lostInTheEnd === 0 ? [] : [`${lostInTheEnd} accepted orders were lost`]),
  ];
}

function sumUp(report: DrillReport): string[] {
  const { acceptedAtLoss, acceptedAtBackup, lostWithoutLogs, lostWithBackupAlone, recovered, closedSeconds } = report;
  const { confirmed, rejected, lostInTheEnd } = report;
  return [
    `accepted at the loss: ${acceptedAtLoss}, of them after the backup: ${acceptedAtLoss - acceptedAtBackup}`,
    `not in the restored ledger: ${lostWithoutLogs}; nor in the backup's own list: ${lostWithBackupAlone}`,
    `found again with the logs: ${recovered}`,
    `lost in the end: ${lostInTheEnd}; confirmed: ${confirmed} of ${units}; rejected: ${rejected}`,
    `no order was accepted for ${closedSeconds.toFixed(1)} s`,
  ];
}

function page(reports: readonly (readonly [string, DrillReport])[]): string {
  const parts = reports.map(
    ([name, report]) => `## ${name}

| step | seconds |
| --- | --- |
${report.steps.map(({ what, seconds }) => `| ${what} | ${seconds.toFixed(2)} |`).join('\n')}

${sumUp(report)
  .map((line) => `- ${line[0]?.toUpperCase()}${line.slice(1)}.`)
  .join('\n')}

\`\`\`text
${report.audit}
\`\`\`
`,
  );
  return `# Everything lost in the middle of a sale, and restored

A sale of ${units.toLocaleString('en')} units, one a buyer, some ${ordersPerSecond} orders a second. With 30 % sold \`npm run backup\` is typed while it sells; then an
operator adds a tenth of the units. With 60 % sold the worker stands still for 0.3 s, so that some orders are in Redis only, and the machines
are lost: their processes are killed and their folders deleted. The API's logs are kept elsewhere. Everything is started on empty folders and
restored by the commands of [backup](../running/backup.md), typed by a script and not by a person who looks for them first: add the time for that, and for machines. The crowd goes on asking all the time.

${parts.join('\n')}
_Not in the restored ledger_ is what would be lost without any log; _nor in the backup's own list_ what would be lost where the API's logs were lost with
the machines. The command fails where an accepted order is lost in the end, where not exactly ${units.toLocaleString('en')} units are confirmed, or where the audit is not clean.

${measuredBy(`pnpm drill:restore --units ${units} --rate ${ordersPerSecond} --write`)}`;
}

const reports: [string, DrillReport][] = [];
let failed = false;
for (const { lost, name } of DRILLS) {
  say(`\n${name}`);
  const report = await drillRestore({
    units,
    ordersPerSecond,
    lost,
    distFolder: join(root, '.data', 'redis-dist'),
    say,
  });
  for (const line of sumUp(report)) say(line);
  for (const fault of faultsOf(report)) {
    failed = true;
    say(`FAULT: ${fault}`);
  }
  reports.push([name, report]);
}
if (values.write && !failed) {
  mkdirSync(join(root, 'docs', 'measurements'), { recursive: true });
  writeFileSync(join(root, 'docs', 'measurements', 'restore-drill.md'), page(reports));
}
process.exitCode = failed ? 1 : 0;
