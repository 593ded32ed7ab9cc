/** Codes of the audit: each is explained to whoever reads it, and each is planted by a test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const report = readFileSync(join(root, 'packages/ops/src/audit/audit-report.ts'), 'utf8');
const codes = [...report.matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] as string).sort();

test('docs/runbook.md says what to do about every code of the audit', () => {
  const page = readFileSync(join(root, 'docs/runbook.md'), 'utf8');
  const section = /^## The audit finds a violation$(.*?)^## /ms.exec(page)?.[1] ?? '';
  const explained = [...section.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1] as string);
  expect(explained.sort()).toEqual(codes);
});

test('every code of the audit is planted by a test', () => {
  const tests = sourceFiles('.test.ts').filter(({ path }) => /ops\/(src\/)?audit\//.test(path));
  const planted = tests.map(({ text }) => text).join('\n');
  expect(codes.length).toBeGreaterThan(30);
  expect(codes.filter((code) => !planted.includes(code))).toEqual([]);
});
