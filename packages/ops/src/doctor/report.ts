/** What the doctor reports: a finding for each check, and how findings are printed. */
import type { Environment } from '@flash-sale/core/config/environment.ts';

type Outcome = 'ok' | 'warning' | 'wrong';

export interface CheckResult {
  readonly outcome: Outcome;
  /** What was read. Never a secret. */
  readonly found: string;
  /** What to change or to run; null if the check passed. */
  readonly fix: string | null;
}

export interface Finding extends CheckResult {
  readonly code: string;
  readonly why: string;
}

/** Which process starts; `all`: the whole system, before a sale. */
export type Scope = 'api' | 'worker' | 'all';

/** One row of a table: code, why it matters (independent of the result), and the check itself. */
export type Check<Seen> = readonly [
  code: string,
  why: string,
  check: (seen: Seen, settings: Environment, scope: Scope) => CheckResult,
];

export interface DoctorReport {
  /** ISO 8601, by this machine's clock. */
  readonly at: string;
  /** The worst of the findings. */
  readonly outcome: Outcome;
  readonly findings: readonly Finding[];
}

export function ok(found: string): CheckResult {
  return { outcome: 'ok', found, fix: null };
}

/** It works, but should be changed before a sale. */
export function warning(found: string, fix: string): CheckResult {
  return { outcome: 'warning', found, fix };
}

/** It does not work, loses orders, or lets unauthorized users in. */
export function wrong(found: string, fix: string): CheckResult {
  return { outcome: 'wrong', found, fix };
}

export function reportOf(findings: readonly Finding[]): DoctorReport {
  const outcomes = new Set(findings.map(({ outcome }) => outcome));
  const outcome = outcomes.has('wrong') ? 'wrong' : outcomes.has('warning') ? 'warning' : 'ok';
  // biome-ignore lint/plugin/wall-time: when it was made
  return { at: new Date().toISOString(), outcome, findings };
}

/** @returns 0: everything is ok; 1: something is wrong; 2: there are warnings only */
export function exitCodeOf({ outcome }: DoctorReport): 0 | 1 | 2 {
  return outcome === 'wrong' ? 1 : outcome === 'warning' ? 2 : 0;
}

const MARKS = { ok: 'ok', warning: 'WARNING', wrong: 'WRONG' } as const;

/** A line for each check; if it failed, the reason and what to do below it. */
export function printReport({ findings }: DoctorReport): string {
  const lines = findings.flatMap(({ code, outcome, found, why, fix }) => [
    row(MARKS[outcome], code, found),
    ...(fix === null ? [] : [row('', '', `why: ${why}`), row('', '', `fix: ${fix}`)]),
  ]);
  const count = (wanted: Outcome): number => findings.filter(({ outcome }) => outcome === wanted).length;
  const [faults, warnings] = [count('wrong'), count('warning')];
  const result = [
    ...(faults > 0 ? [`${faults} wrong`] : []),
    ...(warnings > 0 ? [`${warnings} warning${warnings === 1 ? '' : 's'}`] : []),
  ];
  // A cluster may have several findings of one check.
  const checks = new Set(findings.map(({ code }) => code)).size;
  return `${lines.join('\n')}\n\n${checks} check${checks === 1 ? '' : 's'}: ${result.join(', ') || 'all ok'}\n`;
}

/** Text from servers is untrusted: control characters must not reach the terminal. */
function row(mark: string, code: string, text: string): string {
  return `  ${mark.padEnd(9)}${code.padEnd(22)}${text}`.replaceAll(/\p{Cc}/gu, '�');
}

/** "256 MiB", "1.5 GiB" */
export function bytes(count: number): string {
  const power = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), 4);
  const amount = count / 1024 ** power;
  const digits = Number.isInteger(amount) || amount >= 100 ? 0 : 1;
  return `${amount.toFixed(digits)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

/** "0.4 ms", "120 ms" */
export function milliseconds(ms: number): string {
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}
