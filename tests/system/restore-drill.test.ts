/** A sale loses its machines, is restored by the documented commands, and sells out. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { readAcceptedLogs } from '@flash-sale/ops/recover/accepted-log-files.ts';
import pg from 'pg';
import { expect, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { PASSING, startCrowd } from '../support/buyers.ts';
import { addressesOf, runScript } from '../support/command.ts';
import { ask, BEARER, startOwnRedis } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { eventually } from '../support/world.ts';

const SALE_ID = 'drill';
/** At this rate the sale outlasts the backup on a busy machine, so that something can be lost. */
const UNITS = 600;
const ORDERS_PER_SECOND = 75;
/** Orders confirmed when the backup begins; orders accepted between its end and the loss. */
const BEFORE_BACKUP = 60;
const AFTER_BACKUP = 50;
/** Units that the operator adds after the backup: the restored ledger does not have them. */
const ADDED = 60;
/** Milliseconds for which the worker is frozen before the loss: some orders are in Redis only. */
const BEHIND_MS = 300;

interface Place {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly prefix: string;
}

/** Redis, PostgreSQL, API and worker, each with a folder of its own; logs are in another folder. */
class Machines {
  readonly folder = mkdtempSync(join(tmpdir(), 'flash-sale-drill-'));
  readonly logs = join(this.folder, 'logs');
  readonly #running: (PrivateServer | ServiceProcess)[] = [];

  constructor() {
    // PostgreSQL runs under another account when we are root.
    chmodSync(this.folder, 0o711);
  }

  redis(name: string): Promise<PrivateServer> {
    return this.#keep(startOwnRedis(this.#make(name)));
  }

  postgres(name: string): Promise<PrivateServer> {
    return this.#keep(startPrivatePostgres({ folder: this.#make(name), restart: false }));
  }

  async services(place: Place, port: number): Promise<{ worker: ServiceProcess; api: ServiceProcess }> {
    const logOf = (name: 'api' | 'worker') => join(name === 'api' ? this.logs : this.folder, `${name}-1.log`);
    const start = (name: 'api' | 'worker') =>
      this.#keep(startProcess(place, name, { PORT: String(port), LOG_FILE: logOf(name) }));
    const [worker, api] = await Promise.all([start('worker'), start('api')]);
    return { worker, api };
  }

  async lose(servers: Record<string, PrivateServer>): Promise<void> {
    for (const server of Object.values(servers)) server.kill();
    await eventually('the servers are gone', 5_000, () => Object.values(servers).every(({ pid }) => pid === undefined));
    for (const name of Object.keys(servers))
      rmSync(join(this.folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  async end(): Promise<void> {
    await Promise.all(this.#running.map((one) => ('child' in one ? one.kill() : one.stop())));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #make(name: string): string {
    mkdirSync(join(this.folder, name));
    chmodSync(join(this.folder, name), 0o711);
    return join(this.folder, name);
  }

  async #keep<Running extends PrivateServer | ServiceProcess>(starting: Promise<Running>): Promise<Running> {
    const one = await starting;
    this.#running.push(one);
    return one;
  }
}

/** @returns the output of scripts/<name>.ts. @throws with the output if its exit code is not 0 */
async function run(place: Place, name: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runScript(name, args, addressesOf(place));
  if (code !== 0) throw new Error(`${name} failed:\n${stdout}${stderr}`);
  return stdout;
}

async function admin(url: string, path: string, body?: object): Promise<AnyJson> {
  const method = body ? 'POST' : 'GET';
  const answer = await ask(`${url}/api/admin/sales${path}`, { method, headers: BEARER, body });
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${answer.text}`);
  return answer.body;
}

const sale = () => ({
  product_id: SALE_ID,
  name: 'The drill',
  original_price: '199.99',
  flash_sale_price: '99.99',
  currency: 'USD',
  units: UNITS - ADDED,
  per_buyer_limit: 1,
  starts_at: new Date(Date.now() - 1_000).toISOString(),
  ends_at: new Date(Date.now() + 3_600_000).toISOString(),
});

async function rowsOf<Row extends pg.QueryResultRow>(place: Place, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: place.databaseUrl });
  await client.connect();
  return client.query<Row>(sql).then(({ rows }) => client.end().then(() => rows));
}

async function statusesOf(place: Place): Promise<Map<string, string>> {
  const rows = await rowsOf<{ id: string; status: string }>(place, 'SELECT id, status FROM orders');
  return new Map(rows.map(({ id, status }) => [id, status]));
}

/** @returns accepted orders that are neither in the restored ledger nor in the backup's own list */
async function missingFrom(place: Place, backup: string, accepted: readonly string[]): Promise<string[]> {
  const restored = await statusesOf(place);
  const listed = new Set<string>();
  for await (const chunk of readAcceptedLogs([backup])) for (const { order } of chunk) listed.add(order.id);
  return accepted.filter((id) => !restored.has(id) && !listed.has(id));
}

async function drill(machines: Machines, lost: 'everything' | 'ledger'): Promise<void> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const [redis, postgres] = await Promise.all([machines.redis('redis-1'), machines.postgres('postgres-1')]);
  const before: Place = { redisUrl: redis.url, databaseUrl: postgres.url, prefix: 'flash-sale' };
  await migrateLedger(before.databaseUrl);
  const { worker, api } = await machines.services(before, port);
  await admin(url, '', sale());
  const crowd = startCrowd({
    urls: [url],
    saleId: SALE_ID,
    ordersPerSecond: ORDERS_PER_SECOND,
    retry: PASSING,
    connections: 20,
    retryMs: 200,
  });

  await eventually('a part is sold', 60_000, async () => (await statusesOf(before)).size >= BEFORE_BACKUP);
  const backups = join(machines.folder, 'backups');
  await run(before, 'backup', backups, '--logs', machines.logs);
  const backup = join(backups, readdirSync(backups)[0] as string);
  const more = { delta: ADDED, reason: 'second pallet' };
  await admin(url, `/${SALE_ID}/stock`, { ...more, change_id: 'pallet-2' });

  const enough = crowd.accepted.size + AFTER_BACKUP;
  await eventually('more is sold', 60_000, () => crowd.accepted.size >= enough);
  worker.child.kill('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
  const losing = machines.lose({ 'postgres-1': postgres, ...(lost === 'everything' ? { 'redis-1': redis } : {}) });
  await Promise.all([losing, api.kill(), worker.kill()]);
  const acceptedAtLoss = [...crowd.accepted];

  const redisUrl = lost === 'everything' ? (await machines.redis('redis-2')).url : redis.url;
  const after = { ...before, redisUrl, databaseUrl: (await machines.postgres('postgres-2')).url };
  await run(after, 'restore', backup);
  // There was something to lose.
  expect((await missingFrom(after, backup, acceptedAtLoss)).length).toBeGreaterThan(0);
  await machines.services(after, port);
  await eventually(
    'the inventory is rebuilt',
    60_000,
    async () => (await admin(url, `/${SALE_ID}`)).state === 'paused',
  );
  await admin(url, `/${SALE_ID}/stock`, { ...more, change_id: 'pallet-2-again' });
  await run(after, 'recover-orders', backup, machines.logs);
  await admin(url, `/${SALE_ID}/resume`, {});
  await crowd.ended;
  await eventually('no order is under way', 60_000, async () => {
    const { reserved, sold, ledger } = await admin(url, `/${SALE_ID}`);
    return reserved === 0 && sold === ledger.sold;
  });
  expect(await run(after, 'audit-sale')).toContain('clean');
  const ends = await statusesOf(after);
  expect([...ends.values()].filter((status) => status !== 'confirmed')).toEqual([]);
  expect(ends.size).toBe(UNITS);
  expect([...crowd.accepted].filter((id) => !ends.has(id))).toEqual([]);
}

test.concurrent.each(['everything', 'ledger'] as const)(
  '[I2] [I3] [I11] %s is lost and restored from an older backup: exactly the accepted orders are confirmed',
  async (lost) => {
    const machines = new Machines();
    try {
      await drill(machines, lost);
    } finally {
      await machines.end();
    }
  },
  180_000,
);
