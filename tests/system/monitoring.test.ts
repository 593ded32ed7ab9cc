/**
 * deploy/monitoring in use: the alerts by promtool, with numbers that make them fire and numbers that do not; alerts and
 * dashboards by a real Prometheus that scrapes real processes and exporters during a sale.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { afterEach, beforeAll, expect, inject, test } from 'vitest';
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
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld, type World } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const monitoring = join(root, 'deploy/monitoring');

let programs: Awaited<ReturnType<typeof findPrometheus>>;
/** What a test opened, to be closed in this order. */
let opened: (() => Promise<void> | void)[] = [];

// Programs may have to be fetched from a slow mirror.
beforeAll(async () => {
  programs = await findPrometheus();
}, 300_000);
afterEach(async () => {
  for (const close of opened) await close();
  opened = [];
});

async function promtool(...args: string[]): Promise<string> {
  const { failed, stdout, stderr } = await runCommand(programs.promtool, args, { cwd: join(monitoring, 'alerts') });
  return failed ? `${stdout}\n${stderr}` : '';
}

test('promtool: every alert fires when it must, and only then', async () => {
  expect(await promtool('check', 'config', join(monitoring, 'prometheus.yml'))).toBe('');
  expect(await promtool('check', 'config', '--syntax-only', join(monitoring, 'prometheus.containers.yml'))).toBe('');
  expect(await promtool('test', 'rules', 'alerts.test.yml')).toBe('');
}, 60_000);

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

/** `name{label,label}` of each of our metrics that the two processes export. */
async function exportedLabels(ports: { api: number; worker: number }): Promise<string[]> {
  const found = new Set<string>();
  for (const port of [ports.api, ports.worker]) {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    for (const [, name, labels = ''] of text.matchAll(
      /^(flash_sale_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$/gm,
    )) {
      const names = [...labels.matchAll(/(\w+)="/g)].map((match) => match[1]).filter((label) => label !== 'le');
      found.add(names.length === 0 ? (name as string) : `${name}{${names.sort().join(',')}}`);
    }
  }
  return [...found].sort();
}

/** The same, in docs/reference.md. */
function documentedLabels(): string[] {
  const page = readFileSync(join(root, 'docs/reference.md'), 'utf8');
  return [...page.matchAll(/^\| `(flash_sale_\w+(?:\{[\w,]+\})?)/gm)].map((match) => match[1] as string).sort();
}

async function firing(prometheus: Prometheus): Promise<string[]> {
  const alerts = await prometheus.query('ALERTS{alertstate="firing"}');
  return [...new Set(alerts.map(({ metric }) => metric.alertname))].sort();
}

test('during a sale every query has data; alerts for an unavailable ledger, a surplus unit and a stopped worker fire', async () => {
  const world: World = await openWorld(inject('template'));
  const wayToLedger = await TcpProxy.listen(await freePort(), Number(new URL(world.databaseUrl).port));
  const ports = {
    http: await freePort(),
    api: await freePort(),
    worker: await freePort(),
    redis: await freePort(),
    postgres: await freePort(),
    node: await freePort(),
    prometheus: await freePort(),
  };
  const url = new URL(world.databaseUrl);
  url.host = `127.0.0.1:${wayToLedger.port}`;
  const start = (name: 'api' | 'worker'): Promise<ServiceProcess> =>
    startProcess(world, name, {
      PORT: String(ports.http),
      METRICS_PORT: String(ports[name]),
      DATABASE_URL: url.href,
      REQUEST_TIMEOUT_MS: '1000',
    });
  const api = await start('api');
  let worker = await start('worker');
  const stopExporters = await startExporters(ports, world);
  const folder = copyMonitoring(ports, 1, withoutWaiting);
  const prometheus = await startPrometheus(programs.prometheus, folder, ports.prometheus);
  const sale = await makeSale(world, { units: 100 });
  const crowd = startCrowd({
    urls: [`http://127.0.0.1:${ports.http}`],
    saleId: sale.id,
    connections: 1,
    ordersPerSecond: 50,
    buyers: 1e9,
  });
  opened = [
    () => prometheus.stop(),
    stopExporters,
    () => crowd.stop(),
    () => api.kill(),
    () => worker.kill(),
    () => wayToLedger.close(),
    () => world.close(),
    () => rmSync(folder, { recursive: true, force: true }),
  ];

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
  // The others depend on how busy the machine is, and on the settings of its Redis.
  const relevant = [
    'PostgresUnavailable',
    'BreakerOpen',
    'NoWorker',
    'TargetDown',
    'ConservationBroken',
    'InventoryClosed',
    'RedisUnavailable',
  ];
  const firingNow = async () => (await firing(prometheus)).filter((name) => relevant.includes(name));
  await eventually('no alert fires in quiet', 20_000, async () => (await firingNow()).length === 0);

  expect(await exportedLabels(ports)).toEqual(documentedLabels());

  await wayToLedger.refuse();
  await eventually('PostgresUnavailable and BreakerOpen fire', 40_000, async () => {
    // Only /health asks PostgreSQL in the API.
    await fetch(`http://127.0.0.1:${ports.http}/health`).then((response) => response.text());
    const now = await firingNow();
    return now.includes('PostgresUnavailable') && now.includes('BreakerOpen');
  });
  // The numbers from Redis are still there.
  expect(await prometheus.query(`flash_sale_inventory_units{sale="${sale.id}", state="allotment"}`)).toHaveLength(1);
  await wayToLedger.heal();
  await eventually('all is quiet again', 40_000, async () => {
    await fetch(`http://127.0.0.1:${ports.http}/health`).then((response) => response.text());
    return (await firingNow()).length === 0;
  });

  const inventory = world.keys.sale(sale.id).inventory;
  await world.redis.hincrby(inventory, 'available', 1);
  await eventually('ConservationBroken fires', 20_000, async () => (await firingNow()).includes('ConservationBroken'));
  await world.redis.hincrby(inventory, 'available', -1);
  await eventually('it ends', 20_000, async () => !(await firingNow()).includes('ConservationBroken'));

  await worker.kill();
  await eventually('NoWorker fires', 20_000, async () => (await firingNow()).includes('NoWorker'));
  worker = await start('worker');
  await eventually('all is quiet once more', 40_000, async () => (await firingNow()).length === 0);
}, 240_000);
