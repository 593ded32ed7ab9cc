/**
 * What deploy/monitoring holds, tried: the alerts by promtool, with numbers that must make each fire and numbers that must not; alerts and
 * dashboards by a real Prometheus that watches real processes during a sale.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { afterEach, beforeAll, expect, inject, test } from 'vitest';
import { TcpProxy } from '../chaos/tcp-proxy.ts';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { copyMonitoring, findPrometheus, type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const monitoring = join(root, 'deploy/monitoring');
const alertFiles = ['sale', 'dependencies'];

let programs: { prometheus: string; promtool: string };
/** What a test opened, to be closed in the order in which it is named here. */
let opened: (() => Promise<void> | void)[] = [];

// With a mirror that is slow.
beforeAll(async () => {
  programs = await findPrometheus();
}, 300_000);
afterEach(async () => {
  for (const close of opened) await close();
  opened = [];
});

async function promtool(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(programs.promtool, args, { cwd: join(monitoring, 'alerts') });
  return code === 0 ? '' : `${stdout}\n${stderr}`;
}

test('each alert fires where it must and not where it must not, by promtool', async () => {
  expect(await promtool('check', 'config', join(monitoring, 'prometheus.yml'))).toBe('');
  expect(await promtool('test', 'rules', ...alertFiles.map((name) => `${name}.test.yml`))).toBe('');
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

/** Rules that do not wait. */
const impatient = (rules: string): string => rules.replaceAll(/^ +for: .*\n/gm, '');

/** `name{label,label}` of each metric of ours that the two processes tell. */
async function toldLabels(ports: { api: number; worker: number }): Promise<string[]> {
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

/** The same, as docs/reference.md has it. */
function documentedLabels(): string[] {
  const page = readFileSync(join(root, 'docs/reference.md'), 'utf8');
  return [...page.matchAll(/^\| `(flash_sale_\w+(?:\{[\w,]+\})?)/gm)].map((match) => match[1] as string).sort();
}

async function firing(prometheus: Prometheus): Promise<string[]> {
  const alerts = await prometheus.query('ALERTS{alertstate="firing"}');
  return [...new Set(alerts.map(({ metric }) => metric.alertname))].sort();
}

test('during a sale every query has data and no rule fails; a ledger that is away, a unit too many and a worker that is stopped are told', async () => {
  const world: World = await openWorld(inject('template'));
  const wayToLedger = await TcpProxy.listen(await freePort(), Number(new URL(world.databaseUrl).port));
  const ports = {
    http: await freePort(),
    api: await freePort(),
    worker: await freePort(),
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
  const folder = copyMonitoring(ports, 1, impatient);
  const prometheus = await startPrometheus(programs.prometheus, folder, ports.prometheus);
  const sale = await makeSale(world, { units: 100 });
  let selling = true;
  const crowd = (async () => {
    for (let buyer = 0; selling; buyer++) {
      await fetch(`http://127.0.0.1:${ports.http}/api/flash-sales/${sale.id}/order`, {
        method: 'POST',
        headers: { 'x-user-id': `buyer-${buyer}` },
      }).then((response) => response.text());
      // A crowd of fifty a second: the pace, and not a wait for anything.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  opened = [
    () => prometheus.stop(),
    async () => {
      selling = false;
      await crowd.catch(() => {});
    },
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

  await eventually('every rule was evaluated', 30_000, async () => {
    return (await prometheus.rules()).every((rule) => rule.health !== 'unknown');
  });
  const rules = await prometheus.rules();
  expect(rules.filter((rule) => rule.health !== 'ok').map((rule) => `${rule.name}: ${rule.lastError}`)).toEqual([]);
  // How busy the machine is, and how its Redis is set, is not this test's to say.
  const told = [
    'LedgerAway',
    'BreakerOpen',
    'NoWorker',
    'ProcessAway',
    'ConservationBroken',
    'InventoryClosed',
    'RedisAway',
  ];
  const toldNow = async () => (await firing(prometheus)).filter((name) => told.includes(name));
  await eventually('nothing of that is told in quiet', 20_000, async () => (await toldNow()).length === 0);

  expect(await toldLabels(ports)).toEqual(documentedLabels());

  await wayToLedger.refuse();
  await eventually('the ledger is told to be away, and the breaker open', 40_000, async () => {
    // Nobody but /health asks the API's ledger.
    await fetch(`http://127.0.0.1:${ports.http}/health`).then((response) => response.text());
    const now = await toldNow();
    return now.includes('LedgerAway') && now.includes('BreakerOpen');
  });
  // What Redis says is told all the same.
  expect(await prometheus.query(`flash_sale_inventory_units{sale="${sale.id}", state="allotment"}`)).toHaveLength(1);
  await wayToLedger.heal();
  await eventually('all is quiet again', 40_000, async () => {
    await fetch(`http://127.0.0.1:${ports.http}/health`).then((response) => response.text());
    return (await toldNow()).length === 0;
  });

  const inventory = world.keys.sale(sale.id).inventory;
  await world.redis.hincrby(inventory, 'available', 1);
  await eventually('a unit that nobody gave', 20_000, async () => (await toldNow()).includes('ConservationBroken'));
  await world.redis.hincrby(inventory, 'available', -1);
  await eventually('it is gone', 20_000, async () => !(await toldNow()).includes('ConservationBroken'));

  await worker.kill();
  await eventually('no worker is told', 20_000, async () => (await toldNow()).includes('NoWorker'));
  worker = await start('worker');
  await eventually('all is quiet once more', 40_000, async () => (await toldNow()).length === 0);
}, 240_000);
