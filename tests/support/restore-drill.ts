/**
 * A sale half over, its machines lost, and brought back on empty ones by the documented commands, while the crowd goes on asking: how long each
 * step takes, and what is lost with the API's logs and without.
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { readAcceptedLogs } from '@flash-sale/ops/recover/accepted-log-files.ts';
import pg from 'pg';
import type { AnyJson } from './any-json.ts';
import { freePort } from './free-port.ts';
import { sendUntilSoldOut } from './patient-crowd.ts';
import { ADMIN_TOKEN, type ServiceProcess, startProcess } from './running-system.ts';
import { eventually } from './world.ts';

const SALE_ID = 'drill';
/** Parts of the units that are sold when the backup is taken, and when the machines are lost. */
const BACKUP_AT = 0.3;
const LOST_AT = 0.6;
/** Part of the units that the operator adds after the backup: the restored ledger does not know of them. */
const ADDED = 0.1;
/** Milliseconds that the worker stands still before the loss, so that some orders are in Redis only. */
const BEHIND_MS = 300;

const root = fileURLToPath(new URL('..', import.meta.url));

interface DrillReport {
  readonly steps: readonly { readonly what: string; readonly seconds: number }[];
  /** From the loss to the first order that was accepted after it. */
  readonly closedSeconds: number;
  /** Orders that buyers had been told of: when the backup was taken, and at the loss. */
  readonly acceptedAtBackup: number;
  readonly acceptedAtLoss: number;
  /** Of the latter, those that the restored ledger does not have; and those that the backup's own list does not have either. */
  readonly lostWithoutLogs: number;
  readonly lostWithBackupAlone: number;
  /** What pnpm recover:orders printed last: of them found again. */
  readonly recovered: string;
  /** Orders that were accepted, and have no row, or one that says something else than confirmed, in the end. */
  readonly lostInTheEnd: number;
  readonly confirmed: number;
  readonly rejected: number;
  /** As pnpm audit:sale printed it. */
  readonly audit: string;
}

interface Options {
  readonly units: number;
  readonly ordersPerSecond: number;
  /** both: Redis, PostgreSQL, API and worker; the API's logs are elsewhere. ledger: Redis lives on. */
  readonly lost: 'both' | 'ledger';
  readonly distFolder?: string | undefined;
  readonly say?: (line: string) => void;
}

export async function drillRestore({ units, ordersPerSecond, lost, distFolder, say = () => {} }: Options) {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-drill-'));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  const [logs, backups] = [join(folder, 'logs'), join(folder, 'backups')];
  const running: (PrivateServer | ServiceProcess)[] = [];
  const steps: { what: string; seconds: number }[] = [];
  const keep = <Running extends PrivateServer | ServiceProcess>(one: Running): Running => {
    running.push(one);
    return one;
  };
  async function step<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    const startedAt = performance.now();
    const result = await work();
    const seconds = (performance.now() - startedAt) / 1_000;
    steps.push({ what, seconds });
    say(`${seconds.toFixed(2).padStart(7)} s  ${what}`);
    return result;
  }
  const machine = (name: string): string => {
    mkdirSync(join(folder, name));
    chmodSync(join(folder, name), 0o711);
    return join(folder, name);
  };
  const startRedis = async (name: string): Promise<PrivateServer> =>
    keep(await startPrivateRedis({ folder: machine(name), restart: false, ...(distFolder ? { distFolder } : {}) }));
  const startPostgres = async (name: string): Promise<PrivateServer> =>
    keep(await startPrivatePostgres({ folder: machine(name), restart: false }));
  const port = await freePort();
  const startServices = async (place: Place): Promise<[ServiceProcess, ServiceProcess]> => [
    keep(await startProcess(place, 'worker', { LOG_FILE: join(folder, 'worker-logs', 'worker-1.log') })),
    keep(await startProcess(place, 'api', { PORT: String(port), LOG_FILE: join(logs, 'api-1.log') })),
  ];
  try {
    const [redis, postgres] = await Promise.all([startRedis('redis-1'), startPostgres('postgres-1')]);
    const before = { redisUrl: redis.url, databaseUrl: postgres.url, prefix: 'flash-sale' };
    await migrateLedger(before.databaseUrl);
    const [worker, api] = await startServices(before);
    const operator = asOperator(`http://127.0.0.1:${port}`);
    const added = Math.round(units * ADDED);
    await operator('POST', '', saleOf(units - added));
    const crowd = sendUntilSoldOut([`http://127.0.0.1:${port}`], SALE_ID, ordersPerSecond, 100);
    const isSold = (part: number): Promise<void> =>
      eventually(`${part} of the units are sold`, 120_000, async () => (await soldOf(before)) >= part * units);

    await isSold(BACKUP_AT);
    say(`         ${await soldOf(before)} of ${units} units are confirmed`);
    await step('pnpm backup, while it sells', () => type(before, 'backup', backups, '--logs', logs));
    const acceptedAtBackup = crowd.accepted.size;
    const backup = join(backups, readdirSync(backups)[0] as string);
    const more = { delta: added, reason: 'second pallet' };
    await operator('POST', `/${SALE_ID}/stock`, { ...more, change_id: 'pallet-2' });

    await isSold(LOST_AT);
    worker.child.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    const dying = lost === 'both' ? [redis, postgres] : [postgres];
    for (const server of dying) server.kill();
    await Promise.all([api.kill(), worker.kill()]);
    const lostAt = performance.now();
    await eventually('the servers are gone', 5_000, () => dying.every(({ pid }) => pid === undefined));
    for (const name of lost === 'both' ? ['redis-1', 'postgres-1'] : ['postgres-1'])
      rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    const toldAtLoss = [...crowd.accepted];
    say(
      `         lost, with ${toldAtLoss.length} orders accepted, ${acceptedAtBackup} of them as the backup was taken`,
    );

    const after = await step('empty servers', async () => {
      const [newRedis, newPostgres] = await Promise.all([
        lost === 'both' ? startRedis('redis-2') : redis,
        startPostgres('postgres-2'),
      ]);
      return { ...before, redisUrl: newRedis.url, databaseUrl: newPostgres.url };
    });
    await step('pnpm restore', () => type(after, 'restore', backup));
    const restored = await statusesOf(after);
    const missing = toldAtLoss.filter((id) => !restored.has(id));
    const listed = new Set<string>();
    for await (const chunk of readAcceptedLogs([backup])) for (const { order } of chunk) listed.add(order.id);
    await step('worker and API', () => startServices(after));
    await step('the inventory is rebuilt', () =>
      eventually(
        'the inventory is open',
        60_000,
        async () => (await operator('GET', `/${SALE_ID}`)).state === 'paused',
      ),
    );
    await step('the operator adds the second pallet again', () =>
      operator('POST', `/${SALE_ID}/stock`, { ...more, change_id: 'pallet-2-again' }),
    );
    const recovered = await step("pnpm recover:orders, from the backup and the API's logs", () =>
      type(after, 'recover-orders', backup, logs),
    );
    await step('the sale is resumed', () => operator('POST', `/${SALE_ID}/resume`));
    const { firstAfter } = await crowd.end(lostAt);
    say('         sold out');
    await eventually('no order is under way', 60_000, async () => {
      const { reserved, sold, ledger } = await operator('GET', `/${SALE_ID}`);
      return reserved === 0 && sold === ledger.sold;
    });
    const audit = await step('pnpm audit:sale', () => type(after, 'audit-sale'));
    const ends = await statusesOf(after);
    const confirmed = [...ends.values()].filter((status) => status === 'confirmed').length;
    const report: DrillReport = {
      steps,
      closedSeconds: (firstAfter - lostAt) / 1_000,
      acceptedAtBackup,
      acceptedAtLoss: toldAtLoss.length,
      lostWithoutLogs: missing.length,
      lostWithBackupAlone: missing.filter((id) => !listed.has(id)).length,
      recovered: recovered
        .split('\n')
        .filter((line) => !line.startsWith(' '))
        .join(' ')
        .trim(),
      lostInTheEnd: [...crowd.accepted].filter((id) => ends.get(id) !== 'confirmed').length,
      confirmed,
      rejected: ends.size - confirmed,
      audit: audit.trim(),
    };
    return report;
  } finally {
    await Promise.all(running.map((one) => ('child' in one ? one.kill() : one.stop())));
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Place {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly prefix: string;
}

/** Types a command of scripts/. @returns what it printed. @throws where its exit code is not 0, with what it printed */
async function type(place: Place, script: string, ...args: string[]): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    REDIS_URL: place.redisUrl,
    DATABASE_URL: place.databaseUrl,
    KEY_PREFIX: place.prefix,
  };
  const command = [join(root, 'scripts', `${script}.ts`), ...args];
  try {
    return (await promisify(execFile)(process.execPath, command, { env, maxBuffer: 1 << 26 })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${script} failed:\n${stdout}${stderr}`);
  }
}

function asOperator(url: string) {
  return async (method: 'GET' | 'POST', path: string, body?: object): Promise<AnyJson> => {
    const headers = {
      authorization: `Bearer ${ADMIN_TOKEN}`,
      ...(body && { 'content-type': 'application/json' }),
    };
    const sent = { method, headers, ...(body && { body: JSON.stringify(body) }) };
    const response = await fetch(`${url}/api/admin/sales${path}`, sent);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  };
}

function saleOf(units: number): object {
  return {
    product_id: SALE_ID,
    name: 'The drill',
    original_price: '199.99',
    flash_sale_price: '99.99',
    currency: 'USD',
    units,
    per_buyer_limit: 1,
    starts_at: new Date(Date.now() - 1_000).toISOString(),
    ends_at: new Date(Date.now() + 3_600_000).toISOString(),
  };
}

async function ask<Row extends pg.QueryResultRow>(place: Place, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: place.databaseUrl });
  await client.connect();
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function soldOf(place: Place): Promise<number> {
  return (await ask<{ sold: number }>(place, 'SELECT sold FROM sales'))[0]?.sold ?? 0;
}

/** By order id. */
async function statusesOf(place: Place): Promise<Map<string, string>> {
  const rows = await ask<{ id: string; status: string }>(place, 'SELECT id, status FROM orders');
  return new Map(rows.map(({ id, status }) => [id, status]));
}
