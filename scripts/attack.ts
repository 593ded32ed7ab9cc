/**
 * An attacker's hour, in minutes: floods, slow senders, smuggled requests, forged tokens, tricks with headers, paths and names, against a
 * system of its own in production mode, on the loopback only, each bounded in count and time. After each attack a good buyer must be served, the sales
 * must add up, the memory be bounded, and Redis hold no key that nobody documents. The exit code is 1 where something did not hold. With
 * --write the page in docs/measurements is made.
 *
 *   pnpm attack [--only <family>] [--write]
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { familyNames, type Outcome, runAttacks } from '../tests/attack/run-attacks.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = readArguments(import.meta.url, {
  options: { only: { type: 'string' }, write: { type: 'boolean', default: false } },
});
const { only = null, write } = values;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

function page(outcomes: readonly Outcome[], tookS: number): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
  const tables = [...Map.groupBy(outcomes, ({ family }) => family)].map(([family, list]) => {
    const rows = list.map(
      ({ attack, came, seconds, looked }) =>
        `| ${cell(attack.name)} | ${cell(attack.bound)} | ${cell(attack.holds)} | ${cell(came)} | ${seconds.toFixed(1)} | ${looked?.servedMs.toFixed(0)} |`,
    );
    return `## ${family}

| tried | how much | what must hold | what came of it | s | served after, ms |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}`;
  });
  const peak = Math.max(...outcomes.map(({ looked }) => looked?.peakMb ?? 0));
  return `# An attacker's hour

What an attacker who reaches the ports may try, against a system in production mode: three API processes (\`AUTH=header\` with a port of its own for
operators; \`AUTH=jwt\` with a secret; \`AUTH=jwt\` with a key set), a worker, Redis and PostgreSQL, with the limits of production but for \`RECEIVE_TIMEOUT_MS=3000\`.
Attackers and system share one machine. The command fails where something does not hold, and then makes no page.

After every attack: each API process serves a good buyer, who may have to ask again for up to 10 s (_served after_: the slowest of the three, with reading the order); the audit
of all sales is clean; no API process has ever taken 600 MB more than when it was new; and Redis has no key but those of
[redis-keys](../redis-keys.md). ${outcomes.length} attacks in ${Math.round(tookS)} s; the most that an API process took was ${peak.toFixed(0)} MB.

${tables.join('\n\n')}

A buyer _beside it_ orders ten times a second on a connection that he had before. What was not tried: packets that are no TCP, other hops in between, and
more than one machine can send ([SECURITY.md](../../SECURITY.md)).

${measuredBy('pnpm attack --write')}`;
}

if (only !== null && (!familyNames.includes(only) || write)) {
  process.stderr.write(
    write
      ? '--write makes the page of all attacks: leave --only away.\n'
      : `There is no family ${only}. These are: ${familyNames.join(', ')}.\n`,
  );
  process.exit(2);
}
try {
  const startedAt = performance.now();
  const outcomes = await runAttacks(only, ({ family, attack, came, holds, seconds }) =>
    say(
      `${holds ? 'held  ' : 'BROKEN'} ${seconds.toFixed(1).padStart(5)} s  ${family}: ${attack.name}\n                  ${came}`,
    ),
  );
  const tookS = (performance.now() - startedAt) / 1_000;
  const broken = outcomes.filter(({ holds }) => !holds);
  say(`${outcomes.length - broken.length} of ${outcomes.length} held, in ${Math.round(tookS)} s`);
  if (write && broken.length === 0)
    writeFileSync(join(root, 'docs', 'measurements', 'attack.md'), page(outcomes, tookS));
  process.exitCode = broken.length === 0 ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).stack}\n`);
  process.exitCode = 1;
}
