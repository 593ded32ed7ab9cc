/**
 * deploy/monitoring: a real Prometheus evaluates alerts and dashboards while it scrapes processes
 * and exporters during a sale. tests/system/alert-rules.test.ts tests the rules alone.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { startCrowd } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import {
  copyMonitoring,
  findPrometheus,
  type Prometheus,
  startExporters,
  startPrometheus,
} from '../support/prometheus.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { proxyBefore } from '../support/tcp-proxy.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const monitoring = join(root, 'deploy/monitoring');

let programs: Awaited<ReturnType<typeof findPrometheus>>;
// Programs may have to be fetched from a slow mirror.
beforeAll(async () => {
  programs = await findPrometheus();
}, 300_000);

/** The queries of a dashboard, with its variables filled in. */
function queriesOf(dashboard: string): { panel: string; expression: string }[] {
  const { panels }: AnyJson = JSON.parse(readFileSync(join(monitoring, 'dashboards', dashboard), 'utf8'));
  return panels.flatMap((panel: AnyJson) =>
    panel.targets.map((target: AnyJson) => ({
      panel: `${dashboard}: ${panel.title}`,
      expression: target.expr.replaceAll('$sale', '.+'),
    })),
  );
}

/** Rules that fire at once. */
const withoutWaiting = (rules: string): string => rules.replaceAll(/^ +for: .*\n/gm, '');

/** Every metric that an alert or a dashboard names. */
function namedMetrics(): string[] {
  const files = ['alerts/sale.yml', 'alerts/dependencies.yml', 'dashboards/sale.json', 'dashboards/system.json'];
  const text = files.map((file) => readFileSync(join(monitoring, file), 'utf8')).join('\n');
  const names = text.matchAll(/\b(?:flash_sale|redis|pg|node|process|nodejs)_\w+(?=[{[)\s"\\])/g);
  return [...new Set([...names].map(([name]) => name))];
}

async function firing(prometheus: Prometheus): Promise<string[]> {
  const alerts = await prometheus.query('ALERTS{alertstate="firing"}');
  return [...new Set(alerts.map(({ metric }) => metric.alertname))].sort();
}

/** The other alerts depend on how busy the machine is, and on the settings of its Redis. */
const RELEVANT = /^((Postgres|Redis)Unavailable|BreakerOpen|NoWorker|TargetDown|ConservationBroken|InventoryClosed)$/;

test('during a sale every query has data; alerts for an unavailable ledger, a surplus unit and no worker fire', async ({
  world,
}) => {
  const { proxy, url: DATABASE_URL } = await proxyBefore(world, world.databaseUrl);
  const names = ['http', 'api', 'worker', 'redis', 'postgres', 'node', 'prometheus'] as const;
  const entries = await Promise.all(names.map(async (name) => [name, await freePort()] as const));
  const ports = Object.fromEntries(entries) as Record<(typeof names)[number], number>;
  const start = (name: 'api' | 'worker') =>
    startProcess(world, name, {
      PORT: String(ports.http),
      METRICS_PORT: String(ports[name]),
      DATABASE_URL,
      REQUEST_TIMEOUT_MS: '1000',
    });
  const folder = copyMonitoring(ports, 1, withoutWaiting);
  world.onClose(() => rmSync(folder, { recursive: true, force: true }));
  const [api, worker, stopExporters] = await Promise.all([start('api'), start('worker'), startExporters(ports, world)]);
  world.onClose(stopExporters);
  const prometheus = await startPrometheus(programs.prometheus, folder, ports.prometheus);
  world.onClose(prometheus.stop);
  const sale = await makeSale(world, { units: 100 });
  const crowd = startCrowd({ urls: [api.url], saleId: sale.id, connections: 1, ordersPerSecond: 50, buyers: 1e9 });
  world.onClose(crowd.stop);

  const queries = readdirSync(join(monitoring, 'dashboards')).flatMap(queriesOf);
  expect(queries.length).toBeGreaterThan(30);
  let empty: string[] = [];
  await eventually('every query of the dashboards has data', 60_000, async () => {
    empty = [];
    for (const { panel, expression } of queries) {
      if ((await prometheus.query(expression)).length === 0) empty.push(`${panel}: ${expression}`);
    }
    return empty.length === 0;
  }).catch((error: Error) => expect(empty, error.message).toEqual([]));
  const missing: string[] = [];
  for (const name of namedMetrics()) if ((await prometheus.query(name)).length === 0) missing.push(name);
  expect(missing).toEqual([]);
  await eventually('every rule was evaluated', 30_000, async () => {
    return (await prometheus.rules()).every((rule) => rule.health !== 'unknown');
  });
  const rules = await prometheus.rules();
  expect(rules.filter((rule) => rule.health !== 'ok').map((rule) => `${rule.name}: ${rule.lastError}`)).toEqual([]);

  const untilFiring = (...expected: string[]): Promise<void> =>
    eventually(`${expected.join(', ') || 'nothing'} fires`, 40_000, async () => {
      // In the API, only /health uses PostgreSQL.
      await fetch(`${api.url}/health`).then((response) => response.text());
      const now = (await firing(prometheus)).filter((name) => RELEVANT.test(name));
      return expected.length === now.length && expected.every((name) => now.includes(name));
    });
  const { inventory } = world.keys.sale(sale.id);
  await untilFiring();
  proxy.refuse();
  await world.redis.hincrby(inventory, 'available', 1);
  await untilFiring('PostgresUnavailable', 'BreakerOpen', 'ConservationBroken');
  // Figures from Redis are still there.
  expect(await prometheus.query(`flash_sale_inventory_units{sale="${sale.id}", state="allotment"}`)).toHaveLength(1);
  proxy.heal();
  await world.redis.hincrby(inventory, 'available', -1);
  await worker.kill();
  await untilFiring('NoWorker', 'TargetDown');
  await start('worker');
  await untilFiring();
}, 240_000);
