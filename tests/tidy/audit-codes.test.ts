/** Codes of the audit: each is explained to whoever reads it, and each is planted by a test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const report = readFileSync(join(root, 'packages/ops/src/audit/audit-report.ts'), 'utf8');
const codes = [...report.matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] as string).sort();

test('the docs explain every code of the audit', () => {
  const docs = sourceFiles('.md')
    .map(({ text }) => text)
    .join('\n');
  const explained = new Set([...docs.matchAll(/^\| `([A-Z_]+)` *\|/gm)].map((match) => match[1] as string));
  expect(codes.filter((code) => !explained.has(code))).toEqual([]);
});

test('every code of the audit is planted by a test', () => {
  const tests = sourceFiles('.test.ts').filter(({ path }) => /ops\/(src\/)?audit\//.test(path));
  const planted = tests.map(({ text }) => text).join('\n');
  expect(codes.length).toBeGreaterThan(30);
  expect(codes.filter((code) => !planted.includes(code))).toEqual([]);
});
