/** Metrics, alerts and dashboards against each other and their pages: a name stands in code, and everywhere else is the same. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
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

test('docs/reference.md has every metric of the code, and no other', () => {
  expect(namesIn(read('docs/reference.md'), /^\| `(flash_sale_[a-z_]+)/gm)).toEqual(inCode);
});

test('alerts and dashboards ask for metrics that there are, and every metric is asked for', () => {
  const asked = namesIn(
    sourceFiles('.yml', '.json')
      .filter(({ path }) => /^deploy\/monitoring\/(alerts|dashboards)\//.test(path))
      .map(({ text }) => text)
      .join('\n'),
    /\b(flash_sale_[a-z_]+?)(?:_bucket|_sum|_count)?\b/g,
  );
  expect(asked).toEqual(inCode);
});

test('every alert says what to do, is tried both ways, and has its page', () => {
  const rules = ['sale', 'dependencies'].map((name) => read(`deploy/monitoring/alerts/${name}.yml`)).join('\n');
  const names = namesIn(rules, /- alert: (\w+)/g);
  expect(names.length).toBeGreaterThan(15);
  for (const rule of rules.split('- alert: ').slice(1)) {
    const name = rule.split('\n')[0] as string;
    expect(rule, name).toMatch(/severity: (critical|warning)/);
    expect(rule, name).toMatch(/summary: (['"]).+\1\n +action: (['"]).+\2\n/);
    expect(rule, name).toContain(`runbook: docs/runbook.md#${name.toLowerCase()}\n`);
  }
  const tests = ['sale', 'dependencies'].map((name) => read(`deploy/monitoring/alerts/${name}.test.yml`)).join('\n');
  expect(namesIn(tests, /- name: (\w+) fires/g)).toEqual(names);
  expect(namesIn(tests, /- name: (\w+) does not/g)).toEqual(names);
  expect(namesIn(read('docs/runbook.md'), /^### (\w+)$/gm)).toEqual(names);
});

test.each(['sale', 'machine-room'])('the dashboard %s is one that Grafana takes', (name) => {
  const board: AnyJson = JSON.parse(read(`deploy/monitoring/dashboards/${name}.json`));
  expect(board).toMatchObject({ schemaVersion: 39, uid: `flash-sale-${name}`, annotations: { list: [] } });
  expect(board.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
  const ids = board.panels.map((panel: AnyJson) => panel.id);
  expect(new Set(ids).size).toBe(ids.length);
  const taken = new Set<string>();
  for (const { type, title, datasource, gridPos, targets } of board.panels) {
    expect(['stat', 'timeseries'], title).toContain(type);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana fills this in with the data source that was chosen
    expect(datasource, title).toEqual({ type: 'prometheus', uid: '${datasource}' });
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.has(`${x} ${y}`), `${title} lies on another panel`).toBe(false);
        taken.add(`${x} ${y}`);
      }
    const refs = targets.map((target: AnyJson) => target.refId);
    expect(new Set(refs).size, title).toBe(refs.length);
  }
});
