/** Metrics, alerts and dashboards against each other and their pages: a name stands in code, and everywhere else is the same. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const namesIn = (text: string, pattern: RegExp): string[] =>
  [...new Set([...text.matchAll(pattern)].map((match) => match[1] as string))].sort();

const inCode = namesIn(
  sourceFiles('.ts')
    .filter(({ path }) => /^(apps|packages)\//.test(path) && !/\.test\.ts$/.test(path))
    .map(({ text }) => text)
    .join('\n'),
  /'(flash_sale_[a-z_]+)'/g,
);

test('docs/running/metrics.md has every metric of the code, and no other', () => {
  expect(namesIn(read('docs/running/metrics.md'), /^\| `(flash_sale_[a-z_]+)/gm)).toEqual(inCode);
});

test('alerts and dashboards ask for metrics that there are, and every metric is asked for', () => {
  const asked = namesIn(
    sourceFiles('.yml', '.json')
      .filter(({ path }) => /^monitoring\/(alerts|dashboards)\//.test(path))
      .map(({ text }) => text)
      .join('\n'),
    /\b(flash_sale_[a-z_]+?)(?:_bucket|_sum|_count)?\b/g,
  );
  expect(asked).toEqual(inCode);
});

test('every alert says what to do, is tried both ways, and has its page', () => {
  const rules = ['sale', 'parts'].map((name) => read(`monitoring/alerts/${name}.yml`)).join('\n');
  const names = namesIn(rules, /- alert: (\w+)/g);
  expect(names.length).toBeGreaterThan(15);
  for (const rule of rules.split('- alert: ').slice(1)) {
    const name = rule.split('\n')[0] as string;
    expect(rule, name).toMatch(/severity: (critical|warning)/);
    expect(rule, name).toMatch(/summary: (['"]).+\1\n +action: (['"]).+\2\n/);
    expect(rule, name).toContain(`runbook: docs/running/alerts.md#${name.toLowerCase()}\n`);
  }
  const tests = ['sale', 'parts'].map((name) => read(`monitoring/alerts/${name}.test.yml`)).join('\n');
  expect(namesIn(tests, /- name: (\w+) fires/g)).toEqual(names);
  expect(namesIn(tests, /- name: (\w+) does not/g)).toEqual(names);
  expect(namesIn(read('docs/running/alerts.md'), /^### (\w+)$/gm)).toEqual(names);
});
