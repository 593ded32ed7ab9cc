/** The manifests, rendered by kubectl, match their readers' schemas. Skipped without kubectl. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { findPrometheus } from '../support/prometheus.ts';
import { checkSchema } from './check-schema.ts';
import { type Manifest, renderOverlays, renderRules, rulesFile } from './manifests.ts';

const overlays = await renderOverlays();
const withKubectl = test.skipIf(overlays === null);
/** @returns a copy of the production overlay's manifest of this kind */
const find = (kind: string): Manifest =>
  structuredClone(overlays?.[0]?.manifests.find((one) => one.kind === kind) as Manifest);

test('the PrometheusRule has the alerts of deploy/monitoring/alerts', async () => {
  await expect(renderRules()).toMatchFileSnapshot(rulesFile);
});

withKubectl('every manifest fits the schemas of Kubernetes, KEDA and the Prometheus Operator', async () => {
  expect(await checkSchema(overlays?.flatMap(({ manifests }) => manifests) ?? [])).toEqual([]);
});

/** One mistake each, and the message that it must cause. */
const faults: [string, string, (manifest: Manifest) => void, RegExp][] = [
  [
    'a misspelt field',
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
  ['a missing field', 'Ingress', ({ spec }) => delete spec.rules[0].http.paths[0].pathType, /pathType/],
  ['text for a number', 'PodDisruptionBudget', ({ spec }) => (spec.maxUnavailable = true), /maxUnavailable/],
  ['a number that is not a port', 'Service', ({ spec }) => (spec.ports[0].port = 80.5), /port must be integer/],
  [
    'a misspelt field in a custom resource',
    'ScaledObject',
    ({ spec }) => (spec.minReplicas = 2),
    /'minReplicas' does not exist/,
  ],
  [
    'an invalid enum value in a custom resource',
    'ScaledObject',
    ({ spec }) => (spec.fallback.behavior = 'none'),
    /behavior/,
  ],
  [
    'an invalid duration in a custom resource',
    'PodMonitor',
    ({ spec }) => (spec.podMetricsEndpoints[0].interval = '5 sec'),
    /interval/,
  ],
  ['an unknown kind', 'NetworkPolicy', (one) => Object.assign(one, { kind: 'NetworkPolice' }), /NetworkPolice/],
];

withKubectl.each(faults)('the schema check finds %s', async (_, kind, spoil, words) => {
  const manifest = find(kind);
  spoil(manifest);
  expect((await checkSchema([manifest])).join('\n')).toMatch(words);
});

withKubectl(
  'the scaler counts the reservations of all sales once, and none while PostgreSQL is unavailable',
  async () => {
    const { promtool } = await findPrometheus();
    const { query } = find('ScaledObject').spec.triggers[0].metadata;
    const told = (instance: string, up: number, ...orders: [string, number][]) => [
      {
        series: `flash_sale_dependency_up{namespace="flash-sale", dependency="postgres", instance="${instance}"}`,
        values: `${up}`,
      },
      ...orders.map(([sale, count]) => ({
        series: `flash_sale_reservations{namespace="flash-sale", sale="${sale}", instance="${instance}"}`,
        values: `${count}`,
      })),
    ];
    const another = { series: 'flash_sale_reservations{namespace="another", sale="tea"}', values: '50' };
    const asks = (input: { series: string; values: string }[], value: number | null) => ({
      interval: '5s',
      input_series: [...input, another],
      promql_expr_test: [
        { expr: query, eval_time: '0s', exp_samples: value === null ? [] : [{ labels: '{}', value }] },
      ],
    });
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-scaler-'));
    const file = join(folder, 'scaler.test.yml');
    const tests = [
      // Two workers report the same sales, each with its own snapshot.
      asks([...told('a', 1, ['tea', 900], ['cup', 30]), ...told('b', 1, ['tea', 1_000], ['cup', 30])], 1_030),
      asks(told('a', 0, ['tea', 9_000]), 0),
      asks(told('a', 1), null),
    ];
    writeFileSync(file, stringify({ tests }));
    const { exitCode, stdout, stderr } = await runCommand(promtool, ['test', 'rules', file]);
    rmSync(folder, { recursive: true });
    expect(exitCode, `${stdout}\n${stderr}`).toBe(0);
  },
  300_000,
);
