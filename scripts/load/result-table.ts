/** A run's result for people. */
import type { Crowd } from './crowd.ts';
import { type Finding, unitsTaken } from './end-check.ts';
import type { SaleNumbers } from './operator.ts';

export function resultTable(run: {
  before: SaleNumbers;
  after: SaleNumbers;
  crowd: Crowd;
  outcome: readonly Finding[];
}): string {
  const { before, after, crowd, outcome } = run;
  const { p50, p95, p99, max } = crowd.latencyMs;
  const refusals = Object.entries(crowd.refused).sort(([, a], [, b]) => b - a);
  const refused = refusals.reduce((sum, [, times]) => sum + times, 0);
  const rows: [string, string][] = [
    [
      'answered',
      `${crowd.requests} orders in ${crowd.seconds.toFixed(1)} s (${Math.round(crowd.requests / crowd.seconds)}/s)`,
    ],
    ['accepted', `${crowd.accepted}`],
    ['refused', `${refused}${refusals.map(([code, times]) => `\n${' '.repeat(14)}${code} ${times}`).join('')}`],
    [
      'latency',
      `p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms`,
    ],
    ['units', `${before.available} available before, ${after.available} after, ${unitsTaken(before, after)} taken`],
    ['ledger', `${before.ledger.sold} sold before, ${after.ledger.sold} after`],
  ];
  const passed = outcome.every(({ holds }) => holds);
  return [
    ...rows.map(([name, text]) => `  ${name.padEnd(11)} ${text}`),
    ...outcome.map(({ what, holds }) => `  ${(holds ? 'ok' : 'NOT SO').padEnd(11)} ${what}`),
    `  ${'outcome'.padEnd(11)} ${passed ? 'passed' : 'FAILED'}`,
    '',
    '',
  ].join('\n');
}
