/** The manifests against the code and each other: settings, probes, times, selectors, images, networks. Skipped without kubectl. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { EnvironmentSchema, readEnvironment } from '@flash-sale/core/config/environment.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { judgeFacts } from '@flash-sale/ops/doctor/judge-facts.ts';
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

/** Whether a selector of labels takes the pod. */
function takes({ matchLabels = {}, matchExpressions = [] }: AnyJson, labels: AnyJson): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, values }: AnyJson) => values.includes(labels[key]))
  );
}

describe('settings and secrets', () => {
  test('each setting is one of the code, and the cluster is given what the file says', () => {
    expect(Object.keys(written).filter((name) => !(name in EnvironmentSchema.properties))).toEqual([]);
    for (const map of of('ConfigMap', everywhere)) expect(map.data).toEqual(written);
  });

  test('the doctor finds no fault with them', () => {
    const unseen = { unseen: 'not looked at' };
    const servers = { redis: unseen, postgres: unseen, outdated: undefined };
    const machine = { nodeVersion: '24.21.0', openFiles: 20_000, disks: [] };
    const findings = judgeFacts({ settings, ...servers, ...machine }, 'all');
    expect(findings.filter(({ outcome, code }) => outcome !== 'ok' && !code.endsWith('_ANSWERS'))).toEqual([]);
  });

  test('secrets are named, each for those who need it, and none is in the repository', () => {
    expect(of('Secret', everywhere)).toEqual([]);
    const given = Object.fromEntries(
      containers.map(({ name, env }) => [name, env.flatMap((one: AnyJson) => one.valueFrom.secretKeyRef?.key ?? [])]),
    );
    const servers = ['REDIS_URL', 'DATABASE_URL'];
    expect(given).toEqual({ api: [...servers, 'ADMIN_TOKEN'], worker: servers, migrate: ['DATABASE_URL'] });
    for (const one of containers.flatMap(({ env }) => env)) {
      expect(EnvironmentSchema.properties).toHaveProperty(one.name);
      expect(one.valueFrom.secretKeyRef?.key ?? one.name).toBe(one.name);
    }
  });

  test('PostgreSQL is asked for as many connections as the file and the page say, with every process there may be', () => {
    const most = (kind: string, name: string) => {
      const { maxReplicas, maxReplicaCount } = named(kind, name).spec;
      const surge = String(named('Deployment', name).spec.strategy.rollingUpdate.maxSurge);
      const replicas = maxReplicas ?? maxReplicaCount;
      return (
        replicas + (surge.endsWith('%') ? Math.ceil((replicas * Number.parseInt(surge, 10)) / 100) : Number(surge))
      );
    };
    const migrate = 1;
    const processes =
      most('HorizontalPodAutoscaler', 'flash-sale-api') + most('ScaledObject', 'flash-sale-worker') + migrate;
    const sum = `${processes * settings.DATABASE_POOL_SIZE} connections for ${processes}`;
    expect(read('deploy/kubernetes/base/settings.env')).toContain(sum);
    expect(read('docs/operations.md')).toContain(sum);
  });
});

describe('probes and times', () => {
  test('each probe asks for a path that is answered, at a port that is listened on; being alive needs no other part', async () => {
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

  test('a pod is killed only after its process had all of its time to stop, and no pod goes before its successor is ready', () => {
    for (const { spec } of podsOf(of('Deployment', everywhere))) {
      const beforeMs = (spec.containers[0].lifecycle?.preStop.sleep.seconds ?? 0) * 1_000;
      expect(spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(beforeMs + settings.SHUTDOWN_TIMEOUT_MS);
    }
    for (const { spec } of of('Deployment', everywhere)) expect(spec.strategy.rollingUpdate.maxUnavailable).toBe(0);
    const { readinessProbe, lifecycle } = containers.find(({ name }) => name === 'api');
    // Whether a balancer learns of it from the cluster or asks itself, it knows before the listener closes.
    expect(settings.SHUTDOWN_DRAIN_MS).toBeGreaterThanOrEqual(
      readinessProbe.periodSeconds * readinessProbe.failureThreshold * 1_000,
    );
    expect(lifecycle.preStop.sleep.seconds).toBeGreaterThan(0);
  });
});

describe('who is meant', () => {
  test('every selector takes pods that there are, and every scaler a Deployment whose replicas are its own', () => {
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

  test('what scales the workers is a metric of the code, of the namespace that they are in', () => {
    const { metadata, spec } = named('ScaledObject', 'flash-sale-worker');
    const { query, threshold } = spec.triggers[0].metadata;
    const asked = [...query.matchAll(/\b(flash_sale_\w+)\{namespace="([^"]+)"/g)];
    expect(asked.map((match) => match[1])).toEqual(['flash_sale_reservations', 'flash_sale_dependency_up']);
    for (const [, name, namespace] of asked) {
      expect(read('docs/reference.md')).toContain(`| \`${name}{`);
      expect(namespace).toBe(metadata.namespace);
    }
    // All workers are at work before orders of one sale are refused for the backlog.
    expect(Number(threshold) * spec.maxReplicaCount).toBeLessThanOrEqual(settings.BACKLOG_LIMIT);
  });

  test('the alerts ask for the jobs by the names that the pods have', () => {
    const jobs = podsOf(of('Deployment')).map(
      ({ metadata }) => metadata.labels[named('PodMonitor', 'flash-sale').spec.jobLabel],
    );
    const file = read('deploy/monitoring/prometheus.yml');
    expect([...file.matchAll(/job_name: (\S+)/g)].map((match) => match[1])).toEqual(expect.arrayContaining(jobs));
  });

  test('the crowd reaches what buyers may call, and nothing of the operator', () => {
    const open: string[] = of('Ingress').flatMap(({ spec }) =>
      spec.rules.flatMap(({ http }: AnyJson) => http.paths.map(({ path }: AnyJson) => path)),
    );
    const reached = (path: string): boolean => open.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
    const paths = Object.keys(JSON.parse(read('docs/openapi.json')).paths);
    const buyers = paths.filter((path) => path.startsWith('/api/') && !path.startsWith('/api/admin'));
    expect(paths.filter(reached)).toEqual(buyers);
    expect(['/admin/queues', '/docs', '/metrics'].filter(reached)).toEqual([]);
    // Whatever an ingress makes of a path: the port that it knows has no such routes, and theirs is the pod's own.
    expect(settings.ADMIN_PORT).toBeGreaterThan(0);
    expect(settings.ADMIN_HOST).toBe('127.0.0.1');
    expect(read('docs/operations.md')).toContain(` ${settings.ADMIN_PORT}:${settings.ADMIN_PORT}`);
  });
});

test('every image is pinned to the version of this repository, by kustomize, and is one that the Dockerfile builds', () => {
  const { version } = JSON.parse(read('package.json'));
  for (const { name: container, image, command } of containers) {
    // The API's image has the migrations as well.
    const name = container === 'migrate' ? 'api' : container;
    if (container === 'migrate') {
      expect(command).toEqual(['node', 'scripts/migrate.ts']);
      expect(read('Dockerfile')).toMatch(/^COPY scripts scripts$/m);
    }
    expect(image).toMatch(new RegExp(`/flash-sale-${name}(:${version}|@sha256:[0-9a-f]{64})$`));
    expect(read('Dockerfile')).toMatch(new RegExp(`^FROM \\w+ AS ${name}$`, 'm'));
  }
  expect(containers.length).toBeGreaterThan(0);
});

test('every pod keeps to the standard "restricted", writes nowhere, and has no token of the cluster', () => {
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
});
