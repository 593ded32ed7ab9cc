/** The manifests against the code: settings, probes, selectors, images. Skipped without kubectl. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/config/limits.ts';
import { SettingsSchema } from '@flash-sale/core/config/settings.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { checkFacts } from '@flash-sale/ops/doctor/examine.ts';
import { describe, expect, test } from 'vitest';
import { type Manifest, renderOverlays } from '../kubernetes/manifests.ts';
import type { AnyJson } from '../support/any-json.ts';
import { root } from './source-files.ts';

const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const rendered = await renderOverlays();
const overlays = rendered ?? [];
const everywhere = overlays.flatMap(({ manifests }) => manifests);
const production = overlays[0]?.manifests ?? [];
const of = (kind: string, from: readonly Manifest[] = production): Manifest[] =>
  from.filter((one) => one.kind === kind);
const named = (kind: string, name: string): Manifest =>
  of(kind).find(({ metadata }) => metadata.name === name) as Manifest;
const podsOf = (manifests: readonly Manifest[]): AnyJson[] =>
  [...of('Deployment', manifests), ...of('Job', manifests)].map(({ spec }) => spec.template);
const pods = podsOf(everywhere);
const containers: AnyJson[] = pods.flatMap(({ spec }) => spec.containers);

const written = parseEnv(read('deploy/kubernetes/base/settings.env'));
const SECRETS = {
  REDIS_URL: 'rediss://shop:x7Kq9-mPz2@redis.example:6379',
  DATABASE_URL: 'postgres://shop:x7Kq9-mPz2@db.example/shop',
  ADMIN_TOKEN: 'mFq8-2xVt0Rz7_kLw9Ua',
};
const settings = readEnvironment({ ...written, ...SECRETS, METRICS_HOST: '10.0.0.4' });

/** Whether a label selector matches the pod. */
function takes({ matchLabels = {}, matchExpressions = [] }: AnyJson, labels: AnyJson): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, values }: AnyJson) => values.includes(labels[key]))
  );
}

describe.skipIf(rendered === null)('settings and secrets', () => {
  test('settings.env has only known settings, and the ConfigMap has its values', () => {
    expect(Object.keys(written).filter((name) => !(name in SettingsSchema.properties))).toEqual([]);
    for (const map of of('ConfigMap', everywhere)) expect(map.data).toEqual(written);
  });

  test('the doctor finds no problem with them', () => {
    const unread = { unread: 'not read' };
    const facts = { redis: unread, postgres: unread, openFiles: 20_000, disks: [] };
    const findings = checkFacts({ settings, ...facts }, 'all');
    expect(findings.filter(({ outcome, code }) => outcome !== 'ok' && !code.endsWith('_ANSWERS'))).toEqual([]);
  });

  test('each pod gets only the secrets that it needs, and none is in the repository', () => {
    expect(of('Secret', everywhere)).toEqual([]);
    const given = Object.fromEntries(
      containers.map(({ name, env }) => [name, env.flatMap((one: AnyJson) => one.valueFrom.secretKeyRef?.key ?? [])]),
    );
    const servers = ['REDIS_URL', 'DATABASE_URL'];
    expect(given).toEqual({ api: [...servers, 'ADMIN_TOKEN'], worker: servers, migrate: ['DATABASE_URL'] });
    for (const one of containers.flatMap(({ env }) => env)) {
      expect(SettingsSchema.properties).toHaveProperty(one.name);
      expect(one.valueFrom.secretKeyRef?.key ?? one.name).toBe(one.name);
    }
  });

  test('the stated number of connections covers every process that there may be', () => {
    const most = (kind: string, name: string) => {
      const { maxReplicas, maxReplicaCount } = named(kind, name).spec;
      const surge = String(named('Deployment', name).spec.strategy.rollingUpdate.maxSurge);
      const replicas = maxReplicas ?? maxReplicaCount;
      return (
        replicas + (surge.endsWith('%') ? Math.ceil((replicas * Number.parseInt(surge, 10)) / 100) : Number(surge))
      );
    };
    const migrate = 1;
    const api = most('HorizontalPodAutoscaler', 'flash-sale-api');
    const worker = most('ScaledObject', 'flash-sale-worker');
    const processes = api + worker + migrate;
    const connections =
      (api + migrate) * settings.DATABASE_POOL_SIZE + worker * (settings.WORKER_CONCURRENCY + WORKER_LOOP_CONNECTIONS);
    expect(read('deploy/kubernetes/base/settings.env')).toContain(`${connections} connections for ${processes}`);
    expect(read('docs/operations.md')).toContain(`${processes} processes with ${connections} connections`);
  });
});

describe.skipIf(rendered === null)('probes and times', () => {
  test('probes use existing paths and ports; liveness needs no dependency', async () => {
    const ports = { http: settings.PORT, metrics: settings.METRICS_PORT };
    const metrics = await createMetrics().listen({ host: '127.0.0.1', port: 0 });
    const paths = JSON.parse(read('docs/openapi.json')).paths;
    for (const { name, ports: open, startupProbe, readinessProbe, livenessProbe } of containers) {
      if (name === 'migrate') continue;
      for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
        const { path, port } = httpGet;
        expect(open).toContainEqual({ name: port, containerPort: ports[port as keyof typeof ports] });
        if (port === 'http') expect(paths).toHaveProperty([path, 'get']);
        else expect((await fetch(`http://127.0.0.1:${metrics.port}${path}`)).status, path).toBe(200);
      }
      expect(livenessProbe.httpGet.path).toBe('/health/live');
      expect(readinessProbe.httpGet.path).toBe('/health/ready');
    }
    metrics.close();
  });

  test('a pod has time to stop, and stays until its successor is ready', () => {
    for (const { spec } of podsOf(of('Deployment', everywhere))) {
      const beforeMs = (spec.containers[0].lifecycle?.preStop.sleep.seconds ?? 0) * 1_000;
      expect(spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(beforeMs + settings.SHUTDOWN_TIMEOUT_MS);
    }
    for (const { spec } of of('Deployment', everywhere)) expect(spec.strategy.rollingUpdate.maxUnavailable).toBe(0);
    const { readinessProbe, lifecycle } = containers.find(({ name }) => name === 'api');
    // A load balancer that polls readiness must notice before the listener closes.
    expect(settings.SHUTDOWN_DRAIN_MS).toBeGreaterThanOrEqual(
      readinessProbe.periodSeconds * readinessProbe.failureThreshold * 1_000,
    );
    expect(lifecycle.preStop.sleep.seconds).toBeGreaterThan(0);
  });
});

describe.skipIf(rendered === null)('selectors and names', () => {
  test('every selector matches pods, and every scaler a Deployment without fixed replicas', () => {
    for (const { name, manifests } of overlays) {
      const labels = podsOf(manifests).map(({ metadata }) => metadata.labels);
      const selectors = [
        ...of('Service', manifests).map(({ spec }) => ({ matchLabels: spec.selector })),
        ...['PodDisruptionBudget', 'PodMonitor', 'Deployment'].flatMap((kind) =>
          of(kind, manifests).map(({ spec }) => spec.selector),
        ),
        ...of('NetworkPolicy', manifests).map(({ spec }) => spec.podSelector),
        ...podsOf(manifests).flatMap(({ spec }) =>
          (spec.topologySpreadConstraints ?? []).map((one: AnyJson) => one.labelSelector),
        ),
      ];
      for (const selector of selectors) {
        const taken = labels.filter((one) => takes(selector, one));
        expect(taken.length, `${name}: ${JSON.stringify(selector)}`).toBeGreaterThan(0);
        for (const value of selector.matchExpressions?.[0].values ?? []) {
          expect(taken.map((one) => one['app.kubernetes.io/name'])).toContain(value);
        }
      }
      const scaled = ['HorizontalPodAutoscaler', 'ScaledObject'].flatMap((kind) =>
        of(kind, manifests).map(({ spec }) => spec.scaleTargetRef.name),
      );
      for (const { metadata, spec } of of('Deployment', manifests)) {
        expect(scaled.includes(metadata.name), `${name}: ${metadata.name}`).toBe(spec.replicas === undefined);
      }
      for (const target of scaled)
        expect(of('Deployment', manifests).map(({ metadata }) => metadata.name)).toContain(target);
    }
  });

  test('the worker scaler uses existing metrics of its namespace', () => {
    const { metadata, spec } = named('ScaledObject', 'flash-sale-worker');
    const { query, threshold } = spec.triggers[0].metadata;
    const asked = [...query.matchAll(/\b(flash_sale_\w+)\{namespace="([^"]+)"/g)];
    expect(asked.map((match) => match[1])).toEqual(['flash_sale_reservations', 'flash_sale_dependency_up']);
    for (const [, name, namespace] of asked) {
      expect(read('docs/reference.md')).toContain(`| \`${name}{`);
      expect(namespace).toBe(metadata.namespace);
    }
    // All workers run before a sale reaches its backlog limit.
    expect(Number(threshold) * spec.maxReplicaCount).toBeLessThanOrEqual(settings.BACKLOG_LIMIT);
  });

  test('the jobs of the alerts are the names of the pods', () => {
    const jobs = podsOf(of('Deployment')).map(
      ({ metadata }) => metadata.labels[named('PodMonitor', 'flash-sale').spec.jobLabel],
    );
    const file = read('deploy/monitoring/prometheus.yml');
    expect([...file.matchAll(/job_name: (\S+)/g)].map((match) => match[1])).toEqual(expect.arrayContaining(jobs));
  });

  test('the ingress has the paths of buyers, and none of operators', () => {
    const open: string[] = of('Ingress').flatMap(({ spec }) =>
      spec.rules.flatMap(({ http }: AnyJson) => http.paths.map(({ path }: AnyJson) => path)),
    );
    const reached = (path: string): boolean => open.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
    const paths = Object.keys(JSON.parse(read('docs/openapi.json')).paths);
    const buyers = paths.filter((path) => path.startsWith('/api/') && !path.startsWith('/api/admin'));
    expect(paths.filter(reached)).toEqual(buyers);
    expect(['/admin/queues', '/docs', '/metrics'].filter(reached)).toEqual([]);
    // However the ingress reads a path, operators' routes are on the pod's loopback.
    expect(settings.ADMIN_PORT).toBeGreaterThan(0);
    expect(settings.ADMIN_HOST).toBe('127.0.0.1');
    expect(read('docs/operations.md')).toContain(` ${settings.ADMIN_PORT}:${settings.ADMIN_PORT}`);
  });
});

test.skipIf(rendered === null)(
  'every image has the version of this repository, and is a target of the Dockerfile',
  () => {
    const { version } = JSON.parse(read('package.json'));
    for (const { name: container, image, command } of containers) {
      // The API's image also carries the migrations.
      const name = container === 'migrate' ? 'api' : container;
      if (container === 'migrate') {
        expect(command).toEqual(['node', 'scripts/migrate.ts']);
        expect(read('Dockerfile')).toMatch(/^COPY scripts scripts$/m);
      }
      expect(image).toMatch(new RegExp(`/flash-sale-${name}(:${version}|@sha256:[0-9a-f]{64})$`));
      expect(read('Dockerfile')).toMatch(new RegExp(`^FROM \\w+ AS ${name}$`, 'm'));
    }
    expect(containers.length).toBeGreaterThan(0);
  },
);

test.skipIf(rendered === null)(
  'every pod follows the standard "restricted", has a read-only file system and no cluster token',
  () => {
    for (const { spec } of pods) {
      expect(spec.automountServiceAccountToken).toBe(false);
      expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      for (const { securityContext, resources } of spec.containers) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        expect(Object.keys(resources.requests)).toEqual(['cpu', 'memory']);
        expect(resources.limits.memory).toBe(resources.requests.memory);
      }
    }
  },
);
