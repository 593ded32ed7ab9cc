/** Each audit and doctor code is triggered by a test, and the docs name only existing codes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CODES as AUDIT_CODES } from '@flash-sale/ops/audit/audit-report.ts';
import { CODES as DOCTOR_CODES } from '@flash-sale/ops/doctor/examine.ts';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

/** Codes in backticks between a heading and the next one. */
function codesOf(page: string, heading: RegExp): string[] {
  const text =
    readFileSync(join(root, page), 'utf8')
      .split(/^## /m)
      .find((section) => heading.test(section)) ?? '';
  return [...text.matchAll(/`([A-Z]+(?:_[A-Z]+)*)`/g)].map((match) => match[1] as string);
}
const testsIn = (folders: RegExp): string =>
  sourceFiles('.ts')
    .filter(({ path }) => folders.test(path))
    .map(({ text }) => text)
    .join('\n');

test('docs/runbook.md explains every code of the audit', () => {
  const explained = codesOf('docs/runbook.md', /^The audit finds a violation/).filter((code) => code.includes('_'));
  expect(explained.sort()).toEqual(Object.keys(AUDIT_CODES).sort());
});

test('every audit code has a meaning, and a test plants its violation', () => {
  const planted = testsIn(/tests\/ops\/audit\//);
  for (const [code, meaning] of Object.entries(AUDIT_CODES)) {
    expect(meaning, code).toMatch(/^\S.*\.$/);
    expect(planted, code).toMatch(new RegExp(`'${code}['\\s:]`));
  }
});

test('every doctor check is triggered by a test; the production checklist names existing checks', () => {
  const codes = [...DOCTOR_CODES.keys()];
  const triggered = testsIn(/(ops\/(src\/)?doctor\/|system\/doctor).*\.test\.ts$/);
  expect(codes.length).toBeGreaterThan(25);
  expect(codes.filter((code) => !new RegExp(`'${code}['\\s]`).test(triggered))).toEqual([]);
  const named = codesOf('docs/source-document.md', /^生产部署检查清单/);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((code) => !codes.includes(code))).toEqual([]);
});
