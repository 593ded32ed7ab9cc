/** The doctor's report for people: a line for each check, and below what is not well why it matters and what to do. */
import type { DoctorReport, Finding } from './checks.ts';

const MARKS = { ok: 'ok', warning: 'WARNING', wrong: 'WRONG' } as const;
const MARK_WIDTH = 9;
const CODE_WIDTH = 22;

export function printReport({ findings }: DoctorReport): string {
  const lines = findings.flatMap(printFinding).map(printable);
  return `${lines.join('\n')}\n\n${printSum(findings)}\n`;
}

function printFinding({ code, outcome, found, why, mend }: Finding): string[] {
  const line = (mark: string, name: string, text: string): string =>
    `  ${mark.padEnd(MARK_WIDTH)}${name.padEnd(CODE_WIDTH)}${text}`;
  const first = line(MARKS[outcome], code, found);
  return mend === null ? [first] : [first, line('', '', `why: ${why}`), line('', '', `do:  ${mend}`)];
}

function printSum(findings: readonly Finding[]): string {
  const count = (outcome: Finding['outcome']): number =>
    findings.filter((finding) => finding.outcome === outcome).length;
  const warnings = count('warning');
  const said = [
    ...(count('wrong') > 0 ? [`${count('wrong')} wrong`] : []),
    ...(warnings > 0 ? [warnings === 1 ? '1 warning' : `${warnings} warnings`] : []),
  ];
  // A cluster may have several lines of one check.
  const checks = new Set(findings.map(({ code }) => code)).size;
  return `${checks === 1 ? '1 check' : `${checks} checks`}: ${said.join(', ') || 'all is well'}`;
}

/** A server may say anything: nothing of it may move the cursor of whoever reads this. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '�');
}
