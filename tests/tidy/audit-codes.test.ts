/** Each code of the audit is planted by a test and explained in the runbook. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CODES } from '@flash-sale/ops/audit/audit-report.ts';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

test('docs/runbook.md says what to do about every code of the audit', () => {
  const page = readFileSync(join(root, 'docs/runbook.md'), 'utf8');
  const section = /^## The audit finds a violation$(.*?)^## /ms.exec(page)?.[1] ?? '';
  const explained = [...section.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1] as string);
  expect(explained.sort()).toEqual(Object.keys(CODES).sort());
});

test('every code of the audit has a meaning, and is planted by a test', () => {
  const tests = sourceFiles('.ts').filter(({ path }) => path.includes('tests/ops/audit/'));
  const planted = tests.map(({ text }) => text).join('\n');
  for (const [code, meaning] of Object.entries(CODES)) {
    expect(meaning, code).toMatch(/^\S.*\.$/);
    expect(planted, code).toMatch(new RegExp(`'${code}['\\s:]`));
  }
});
