/** The result of a run, and the evidence for violations: history and log lines. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Auditor, Violation } from './auditor.ts';
import type { EndCounts } from './check-end.ts';

export interface RunReport {
  readonly seconds: number;
  readonly calls: number;
  /** Replies by "kind status code". */
  readonly tally: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  readonly kills: number;
  readonly skippedFaults: number;
  readonly acceptedOrders: number;
  readonly end: EndCounts;
  readonly violations: readonly Violation[];
  /** Of the first violations of each kind. */
  readonly evidence: readonly string[];
  /** Violations found by the project's own audit. */
  readonly audit: readonly string[];
  readonly logFolder: string;
}

/** The five numbers that must be 0. */
export function outcomeOf(report: RunReport): Record<'oversold' | 'leaked' | 'lost' | 'stuck' | 'untrue', number> {
  const count = (...kinds: Violation['kind'][]): number =>
    report.violations.filter(({ kind }) => kinds.includes(kind)).length;
  return {
    oversold: count('oversold'),
    leaked: count('leaked'),
    lost: count('lost'),
    stuck: count('stuck'),
    untrue: count('untrue', 'exit') + report.audit.length,
  };
}

export function isClean(report: RunReport): boolean {
  return Object.values(outcomeOf(report)).every((count) => count === 0);
}

export function reportLines(report: RunReport): string[] {
  const { end, calls, seconds, acceptedOrders, kills, faults, skippedFaults, tally, audit } = report;
  const list = (counts: ReadonlyMap<string, number>): string =>
    [...counts]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([what, count]) => `${count} × ${what}`)
      .join(', ');
  const outcome = Object.entries(outcomeOf(report)).map(([name, count]) => `${count} ${name}`);
  return [
    `${calls} requests in ${seconds.toFixed(0)} s, ${acceptedOrders} orders accepted, ${end.confirmedOrders} confirmed ` +
      `(${end.confirmedUnits} units)${end.gone > 0 ? `, ${end.gone} gone with an emptied Redis` : ''}`,
    `faults, ${kills} of them SIGKILLs: ${list(faults)}; ${skippedFaults} skipped, their target was down`,
    `replies: ${list(tally)}`,
    `audit: ${audit.length === 0 ? 'clean' : audit.join('; ')}`,
    outcome.join(', '),
  ];
}

const SHOWN_OF_A_KIND = 6;
const LOG_LINES = 25;

export function evidenceOf({ violations, orders }: Auditor, logFolder: string): string[] {
  if (violations.length === 0) return [];
  const logs = readdirSync(logFolder)
    .filter((file) => /^(api|worker)-\d+\.log/.test(file))
    .sort()
    .flatMap((file) =>
      readFileSync(join(logFolder, file), 'utf8')
        .split('\n')
        .map((line) => `${file}: ${line}`),
    );
  const shown = [...Map.groupBy(violations, ({ kind }) => kind).values()].flatMap((all) =>
    all.slice(0, SHOWN_OF_A_KIND),
  );
  return shown.map(({ kind, sentence, at, n, orderId }) => {
    const names = [orderId, n > 0 ? `"call-${n}"` : null].filter((name) => name !== null);
    const lines = logs.filter((line) => names.some((name) => line.includes(name))).slice(0, LOG_LINES);
    const history = (orderId === null ? undefined : orders.get(orderId)?.history) ?? [];
    const head = `${kind.toUpperCase()} at ${(at / 1_000).toFixed(3)}: ${sentence} (call-${n}) [${orderId}]`;
    return [head, ...[...history, ...lines].map((line) => `    ${line}`)].join('\n');
  });
}
