/** Checks of the doctor: each is explained to whoever reads it, and each is provoked by a test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const checks = readFileSync(join(root, 'packages/ops/src/doctor/checks.ts'), 'utf8');
const codes = [...checks.matchAll(/^ {2}([A-Z_]+):/gm)].map((match) => match[1] as string).sort();

test('docs/running.md has every check of the doctor, and no other', () => {
  const page = readFileSync(join(root, 'docs/running.md'), 'utf8');
  const section = /^## The doctor$(.*?)^## /ms.exec(page)?.[1] ?? '';
  const explained = [...section.matchAll(/^\| `([A-Z_]+)` *\|/gm)].map((match) => match[1] as string);
  expect(explained.sort()).toEqual(codes);
});

test('every check of the doctor is provoked by a test', () => {
  const tests = sourceFiles('.test.ts').filter(({ path }) => /ops\/(src\/)?doctor\/|system\/doctor/.test(path));
  const provoked = tests.map(({ text }) => text).join('\n');
  expect(codes.length).toBeGreaterThan(30);
  expect(codes.filter((code) => !new RegExp(`'${code}['\\s]`).test(provoked))).toEqual([]);
});
