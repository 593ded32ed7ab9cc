/** Each check of the doctor is provoked by a test; the docs name only existing ones. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CODES } from '@flash-sale/ops/doctor/examine.ts';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const codes = [...CODES.keys()];

test('checks that docs/source-document.md names for the production checklist exist', () => {
  const page = readFileSync(join(root, 'docs/source-document.md'), 'utf8');
  const section = /^## 生产部署检查清单.*?$(.*?)^## /ms.exec(page)?.[1] ?? '';
  const named = [...section.matchAll(/`([A-Z]+(?:_[A-Z]+)*)`/g)].map((match) => match[1] as string);
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((code) => !codes.includes(code))).toEqual([]);
});

test('every check of the doctor is provoked by a test', () => {
  const tests = sourceFiles('.test.ts').filter(({ path }) => /ops\/(src\/)?doctor\/|system\/doctor/.test(path));
  const provoked = tests.map(({ text }) => text).join('\n');
  expect(codes.length).toBeGreaterThan(25);
  expect(codes.filter((code) => !new RegExp(`'${code}['\\s]`).test(provoked))).toEqual([]);
});
