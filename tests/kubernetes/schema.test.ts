/** The manifests by the schemas of what will take them, and as kubectl renders them now. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import {
  type Manifest,
  OVERLAYS,
  type Overlay,
  readManifests,
  renderedFile,
  renderOverlay,
  renderRules,
  rulesFile,
} from '../../scripts/kubernetes/manifests.ts';
import { findPrometheus } from '../support/prometheus.ts';
import { checkSchema } from './check-schema.ts';

const rendered = (overlay: Overlay): Manifest[] => readManifests(readFileSync(renderedFile(overlay), 'utf8'));
const find = (manifests: readonly Manifest[], kind: string): Manifest =>
  manifests.find((one) => one.kind === kind) as Manifest;

test('every manifest of every overlay fits the schemas of Kubernetes, KEDA and the Prometheus Operator', async () => {
  expect(await checkSchema(OVERLAYS.flatMap(rendered))).toEqual([]);
});

/** One fault, and what must be said of it. */
const faults: [string, string, (manifest: Manifest) => void, RegExp][] = [
  [
    'a field that is misspelt',
    'Deployment',
    ({ spec }) => {
      const [container] = spec.template.spec.containers;
      container.livenesProbe = container.livenessProbe;
    },
    /^Deployment flash-sale-api: .*'livenesProbe' does not exist/,
  ],
  [
    'a field in the wrong place',
    'HorizontalPodAutoscaler',
    ({ spec }) => (spec.targetCPUUtilizationPercentage = 70),
    /'targetCPUUtilizationPercentage' does not exist/,
  ],
  ['a field that is missing', 'Ingress', ({ spec }) => delete spec.rules[0].http.paths[0].pathType, /pathType/],
  ['text for a number', 'PodDisruptionBudget', ({ spec }) => (spec.maxUnavailable = true), /maxUnavailable/],
  ['a number that is no port', 'Service', ({ spec }) => (spec.ports[0].port = 80.5), /port must be integer/],
  ['a custom resource, misspelt', 'ScaledObject', ({ spec }) => (spec.minReplicas = 2), /'minReplicas' does not exist/],
  ['… and a word of it', 'ScaledObject', ({ spec }) => (spec.fallback.behavior = 'none'), /behavior/],
  ['… and a time of it', 'PodMonitor', ({ spec }) => (spec.podMetricsEndpoints[0].interval = '5 sec'), /interval/],
  [
    'a kind that there is not',
    'NetworkPolicy',
    (one) => Object.assign(one, { kind: 'NetworkPolice' }),
    /NetworkPolice/,
  ],
];

test.each(faults)('is found: %s', async (_, kind, spoil, words) => {
  const manifest = find(rendered('production'), kind);
  spoil(manifest);
  const found = await checkSchema([manifest]);
  expect(found.join('\n')).toMatch(words);
});

test('what is kept rendered is what kubectl renders now, and the alerts are those of monitoring/alerts', async () => {
  expect(readFileSync(rulesFile, 'utf8'), 'pnpm render:kubernetes').toBe(renderRules());
  const sorted = (manifests: Manifest[]): Manifest[] =>
    manifests.sort((a, b) => `${a.kind} ${a.metadata.name}`.localeCompare(`${b.kind} ${b.metadata.name}`));
  for (const overlay of OVERLAYS) {
    // Where there is no kubectl the schemas are still held against what is kept.
    const now = await renderOverlay(overlay);
    if (now !== null) expect(sorted(rendered(overlay)), 'pnpm render:kubernetes').toEqual(sorted(readManifests(now)));
  }
});

test('the scaler counts the orders of all sales once, and none while PostgreSQL is away', async () => {
  const { promtool } = await findPrometheus();
  const { query } = find(rendered('production'), 'ScaledObject').spec.triggers[0].metadata;
  const told = (instance: string, up: number, ...orders: [string, number][]) => [
    { series: `flash_sale_up{namespace="flash-sale", part="postgres", instance="${instance}"}`, values: `${up}` },
    ...orders.map(([sale, count]) => ({
      series: `flash_sale_orders_under_way{namespace="flash-sale", sale="${sale}", instance="${instance}"}`,
      values: `${count}`,
    })),
  ];
  const another = { series: 'flash_sale_orders_under_way{namespace="another", sale="tea"}', values: '50' };
  const asks = (input: { series: string; values: string }[], value: number | null) => ({
    interval: '5s',
    input_series: [...input, another],
    promql_expr_test: [{ expr: query, eval_time: '0s', exp_samples: value === null ? [] : [{ labels: '{}', value }] }],
  });
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-scaler-'));
  const file = join(folder, 'scaler.test.yml');
  const tests = [
    // Two workers tell the same, each as it looked.
    asks([...told('a', 1, ['tea', 900], ['cup', 30]), ...told('b', 1, ['tea', 1_000], ['cup', 30])], 1_030),
    asks(told('a', 0, ['tea', 9_000]), 0),
    asks(told('a', 1), null),
  ];
  writeFileSync(file, stringify({ tests }));
  const { code, stdout, stderr } = await runCommand(promtool, ['test', 'rules', file]);
  rmSync(folder, { recursive: true });
  expect(code, `${stdout}\n${stderr}`).toBe(0);
}, 300_000);
