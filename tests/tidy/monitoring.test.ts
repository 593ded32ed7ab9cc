/** Metrics, alerts and dashboards against each other and the docs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import type { AnyJson } from '../support/any-json.ts';
import { root, sourceFiles } from './source-files.ts';

const monitoring = join(root, 'deploy/monitoring');
const read = (path: string): string => readFileSync(join(monitoring, path), 'utf8');
const namesIn = (text: string, pattern: RegExp): string[] =>
  [...new Set([...text.matchAll(pattern)].map((match) => match[1] as string))].sort();
const textOf = (...patterns: RegExp[]): string =>
  sourceFiles('.ts', '.yml', '.json', '.md')
    .filter(({ path }) => patterns.some((pattern) => pattern.test(path)))
    .map(({ text }) => text)
    .join('\n');

/** A metric in a query: names of labels and functions have no such prefix. */
const METRIC = /\b((?:flash_sale|redis|pg|process|nodejs)_\w+|up(?=\{))/g;
const metrics = namesIn(textOf(/^(apps|packages)\/.*(?<!\.test)\.ts$/), /'(flash_sale_[a-z_]+)',/g);
const rules: AnyJson[] = ['sale', 'dependencies'].flatMap((name) => parse(read(`alerts/${name}.yml`)).groups[0].rules);
const alerts = rules.map(({ alert }) => alert as string).sort();

test('docs/reference.md has every metric of the code, and no other', () => {
  expect(metrics.length).toBeGreaterThan(20);
  expect(namesIn(textOf(/^docs\/reference\.md$/), /^\| `(flash_sale_[a-z_]+)/gm)).toEqual(metrics);
});

test('metrics and alerts that docs/source-document.md names exist', () => {
  const page = textOf(/^docs\/source-document\.md$/);
  const named = namesIn(page, /`((?:flash_sale|redis|pg|node|process)_[a-z_]+)`/g);
  expect(named.length).toBeGreaterThan(8);
  const used = textOf(/^deploy\/monitoring\/(alerts|dashboards)\//);
  expect(named.filter((name) => !used.includes(name))).toEqual([]);
  const namedAlerts = namesIn(page, /`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`/g);
  expect(namedAlerts.length).toBeGreaterThan(3);
  expect(namedAlerts.filter((name) => !alerts.includes(name))).toEqual([]);
});

test('alerts and dashboards use every metric of the code, and no other', () => {
  const used = textOf(/^deploy\/monitoring\/(alerts|dashboards)\//);
  expect(namesIn(used, /\b(flash_sale_[a-z_]+?)(?:_bucket|_sum|_count)?\b/g)).toEqual(metrics);
});

test('every alert has a severity, a summary, a page in the runbook, and a test that fires and one that does not', () => {
  for (const { alert, labels, annotations } of rules) {
    expect(labels.severity, alert).toMatch(/^(critical|warning)$/);
    expect(annotations, alert).toEqual({
      summary: expect.stringMatching(/.+/),
      runbook: `docs/runbook.md#${alert.toLowerCase()}`,
    });
  }
  expect(namesIn(textOf(/^docs\/runbook\.md$/), /^### (\w+)$/gm)).toEqual(expect.arrayContaining(alerts));
  const { tests } = parse(read('alerts/alerts.test.yml'));
  const [fires, quiet] = ['every alert fires', 'no alert fires below its threshold'].map((name) =>
    tests.find((one: AnyJson) => one.name === name),
  );
  const fired = fires.promql_expr_test[0].exp_samples.map(
    ({ labels }: AnyJson) => /alertname="(\w+)"/.exec(labels)?.[1],
  );
  expect(fired.sort()).toEqual(alerts);
  expect(quiet.promql_expr_test[0].exp_samples).toEqual([]);
  const given = quiet.input_series.map(({ series }: AnyJson) => series.split('{')[0]);
  for (const { alert, expr } of rules) {
    expect(given, alert).toEqual(expect.arrayContaining(namesIn(expr, METRIC)));
  }
});

test.each(['sale', 'system'])('the dashboard %s is valid', (name) => {
  const board: AnyJson = JSON.parse(read(`dashboards/${name}.json`));
  expect(board).toMatchObject({ schemaVersion: 39, uid: `flash-sale-${name}` });
  expect(board.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
  const ids = board.panels.map((panel: AnyJson) => panel.id);
  expect(new Set(ids).size).toBe(ids.length);
  const taken = new Set<string>();
  for (const { type, title, datasource, gridPos, targets } of board.panels) {
    expect(['stat', 'timeseries'], title).toContain(type);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana replaces it with the chosen data source
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
