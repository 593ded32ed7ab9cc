/** npm run doctor, as somebody types it, on real servers that are fit and that are made unfit one setting at a time; and its look as a process starts. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { removeSystemFile, writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import type { DoctorReport } from '@flash-sale/ops/doctor/checks.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';

vi.setConfig({ testTimeout: 60_000 });

const script = fileURLToPath(new URL('../../scripts/run.mjs', import.meta.url));
const TOKEN = 'mFq8-2xVt0Rz7_kLw9Ua';

let folder: string;
let dataFolder: string;
let redis: PrivateServer;
let postgres: PrivateServer;
let client: Redis;
let pool: pg.Pool;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-doctor-'));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  dataFolder = join(folder, 'data');
  mkdirSync(dataFolder);
  const distFolder = process.env.TEST_REDIS_DIST;
  [redis, postgres] = await Promise.all([
    startPrivateRedis({ folder, ...(distFolder ? { distFolder } : {}) }),
    startPrivatePostgres({ folder }),
  ]);
  await migrateLedger(postgres.url);
  client = new Redis(redis.url);
  pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
  pool.on('error', () => {});
}, 120_000);
afterAll(async () => {
  client?.disconnect();
  await pool?.end();
  await Promise.all([redis?.stop(), postgres?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const healthy = () => ({
  NODE_ENV: 'production',
  AUTH: 'header',
  ADMIN_TOKEN: TOKEN,
  REDIS_URL: redis.url,
  DATABASE_URL: postgres.url,
  DATA_DIR: dataFolder,
  // Whatever this machine lets a process open is enough for these.
  MAX_CONNECTIONS: '500',
  OVERLOAD_IN_FLIGHT: '500',
});

function doctor(changed: Record<string, string | undefined> = {}, args: string[] = []): Promise<Said> {
  return new Promise((resolve) => {
    const env = { PATH: process.env.PATH, ...healthy(), ...changed };
    execFile(process.execPath, [script, 'doctor', ...args], { env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

/** Two cores that also run other tests may hold up a round trip, and a disk may be nearly full: that is the machine's, not what is tested. */
const OF_THE_MACHINE = ['REDIS_LATENCY', 'DISK'];

/** Codes and outcomes of what is not well. */
async function faults(changed: Record<string, string | undefined> = {}): Promise<string[]> {
  const said = await doctor(changed, ['--json']);
  expect(said.err).toBe('');
  const { findings } = JSON.parse(said.out) as DoctorReport;
  return findings
    .filter(({ code, outcome }) => outcome !== 'ok' && !OF_THE_MACHINE.includes(code))
    .map(({ code, outcome }) => `${code} ${outcome}`);
}

test('settings that are fit and the servers of `npm start`: nothing but ok, and 0', async () => {
  expect(await faults()).toEqual([]);
  const said = await vi.waitFor(async () => {
    await client.slowlog('RESET');
    const one = await doctor();
    expect(one.code).toBe(0);
    return one;
  }, 30_000);
  expect(said.err).toBe('');
  expect(said.out).toMatch(/^ {2}ok {7}REDIS_AOF {13}append-only file on$/m);
  expect(said.out).toMatch(/\n\n\d\d checks: all is well\n$/);
  expect(said.out).not.toMatch(/WARNING|WRONG|why:/);
  for (const secret of [TOKEN, new URL(redis.url).password, new URL(postgres.url).password]) {
    expect(said.out).not.toContain(secret);
  }
});

test.each<[string, [string, string][], string[]]>([
  ['evicts', [['maxmemory-policy', 'allkeys-lru']], ['REDIS_EVICTION wrong']],
  ['keeps no append-only file', [['appendonly', 'no']], ['REDIS_AOF warning']],
  ['never waits for the disk', [['appendfsync', 'no']], ['REDIS_APPENDFSYNC warning']],
  ['writes its file anew early', [['auto-aof-rewrite-min-size', '64mb']], ['REDIS_AOF_REWRITE warning']],
  ['searches hashes from end to end', [['hash-max-listpack-entries', '512']], ['REDIS_SMALL_HASHES warning']],
  ['frees what expires in one go', [['lazyfree-lazy-expire', 'no']], ['REDIS_LAZY_EXPIRE warning']],
  ['has no bound', [['maxmemory', '0']], ['REDIS_MEMORY warning']],
  ['is nearly full', [['maxmemory', '10mb']], ['REDIS_MEMORY warning']],
  ['asks for no password', [['requirepass', '']], ['REDIS_LOGIN warning']],
])('a Redis that %s is found out', async (_, config, expected) => {
  const before = await Promise.all(config.map(async ([name]) => [name, await client.config('GET', name)] as const));
  for (const [name, value] of config) await client.config('SET', name, value);
  try {
    expect(await faults()).toEqual(expected);
  } finally {
    for (const [name, old] of before) await client.config('SET', name, (old as string[])[1] ?? '');
  }
});

test('a command that held Redis up is found out, by its name only', async () => {
  await client.eval(
    "local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1e6 + n[2] - t[2] > 150000",
    0,
    'whose',
  );
  const said = await doctor();
  await client.slowlog('RESET');
  expect(said.out).toMatch(/WARNING {2}REDIS_LATENCY .* within the last hour one EVAL took 1\d\d ms$/m);
  expect(said.out).not.toContain('whose');
});

test('a Redis that is a replica is found out', async () => {
  await client.replicaof('127.0.0.1', await freePort());
  try {
    expect(await faults()).toEqual(['REDIS_WRITABLE wrong']);
  } finally {
    await client.replicaof('NO', 'ONE');
  }
});

test.each<[string, string, string, string]>([
  ['does not flush', 'fsync', 'off', 'POSTGRES_DURABILITY wrong'],
  ['commits before it writes', 'synchronous_commit', 'off', 'POSTGRES_DURABILITY wrong'],
  ['writes torn pages', 'full_page_writes', 'off', 'POSTGRES_DURABILITY wrong'],
  ['isolates more strictly', 'default_transaction_isolation', "'repeatable read'", 'POSTGRES_ISOLATION wrong'],
  ['only reads', 'default_transaction_read_only', 'on', 'POSTGRES_WRITABLE wrong'],
])('a PostgreSQL that %s is found out', async (_, name, value, expected) => {
  await pool.query(`ALTER SYSTEM SET ${name} = ${value}`);
  await pool.query('SELECT pg_reload_conf()');
  try {
    await vi.waitFor(async () => expect(await faults()).toEqual([expected]), 10_000);
  } finally {
    await pool.query('SET default_transaction_read_only = off');
    await pool.query(`ALTER SYSTEM RESET ${name}`);
    await pool.query('SELECT pg_reload_conf()');
  }
});

test('a role that may hold fewer connections than the pools do is found out', async () => {
  await pool.query('ALTER ROLE flash_sale CONNECTION LIMIT 20');
  try {
    expect(await faults()).toEqual(['POSTGRES_CONNECTIONS wrong']);
    expect(await faults({ DATABASE_POOL_SIZE: '250' })).toEqual(['POSTGRES_CONNECTIONS wrong']);
  } finally {
    await pool.query('ALTER ROLE flash_sale CONNECTION LIMIT -1');
  }
});

test('a ledger that was not migrated is found out', async () => {
  await pool.query('CREATE DATABASE bare');
  const bare = postgres.url.replace(/\/flash_sale$/, '/bare');
  expect(await faults({ DATABASE_URL: bare })).toEqual(['POSTGRES_MIGRATIONS wrong']);
});

test('settings: a wrong one is a finding of its own; 1 for what is wrong, 2 for warnings', async () => {
  expect(await faults({ PORT: 'x' })).toEqual(['SETTINGS wrong']);
  const unreadable = await doctor({ ADMIN_TOKEN: 'tooshort', PORT: 'x' });
  expect(unreadable).toMatchObject({ code: 1, err: '' });
  expect(unreadable.out).toMatch(/^ {2}WRONG {4}SETTINGS {14}PORT is "x"/m);
  expect(unreadable.out).toMatch(/1 check: 2 wrong\n$/);
  expect(unreadable.out).not.toContain('tooshort');
  expect(await faults({ ADMIN_TOKEN: 'changemechangeme' })).toEqual(['ADMIN_TOKEN wrong']);
  expect((await doctor({ ADMIN_TOKEN: 'changemechangeme' })).code).toBe(1);
  expect(await faults({ NODE_ENV: 'development' })).toEqual(['MODE warning']);
  expect((await doctor({ NODE_ENV: 'development' })).code).toBe(2);
  const usage = await doctor({}, ['--loud']);
  expect(usage).toMatchObject({ code: 1, out: '' });
  expect(usage.err).toMatch(/Usage: npm run doctor -- \[--json\]/);
});

test('the running system is found by what it wrote down', async () => {
  const unset = { REDIS_URL: undefined, DATABASE_URL: undefined, ADMIN_TOKEN: undefined };
  expect(await faults(unset)).toEqual(['ADMIN_TOKEN wrong', 'REDIS_ANSWERS wrong', 'POSTGRES_ANSWERS wrong']);
  writeSystemFile(dataFolder, healthy());
  expect(await faults(unset)).toEqual([]);
  // What its processes were given is what is judged, not what this terminal would start.
  const given = { ...healthy(), KEY_PREFIX: 'other', GLOBAL_RATE_LIMIT: '0' };
  writeSystemFile(dataFolder, given);
  const bare = Object.fromEntries(Object.keys(healthy()).map((name) => [name, undefined]));
  const said = await doctor({ ...bare, DATA_DIR: dataFolder, PORT: '5098' });
  expect(said.out).toMatch(
    /^ {2}ok {7}SETTINGS +all can be read; those of the system that runs on .*data, but for PORT as set here$/m,
  );
  expect(await faults({ ...bare, DATA_DIR: dataFolder })).toEqual(['RATE_LIMITS warning']);
  removeSystemFile(dataFolder);
});

/** Takes connections, and never says a word. */
async function silentServer(): Promise<{ server: Server; port: number }> {
  const port = await freePort();
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return { server, port };
}

test('servers that are away or silent are a sentence within seconds, without their secrets', async () => {
  const port = await freePort();
  const away = await doctor({
    REDIS_URL: `redis://u:topsecret@127.0.0.1:${port}?password=topsecret`,
    DATABASE_URL: `postgres://u:topsecret@127.0.0.1:${port}/d`,
  });
  expect(away).toMatchObject({ code: 1, err: '' });
  expect(away.out).toMatch(/WRONG {4}REDIS_ANSWERS {9}No Redis answers at .*ECONNREFUSED/);
  expect(away.out).toMatch(/do: {2}Start it, or correct DATABASE_URL\.$/m);
  expect(away.out).not.toMatch(/topsecret|\n {4}at /);

  const { server, port: silent } = await silentServer();
  try {
    const started = performance.now();
    const said = await doctor({
      REDIS_URL: `redis://u:topsecret@127.0.0.1:${silent}`,
      DATABASE_URL: `postgres://u:topsecret@127.0.0.1:${silent}/d`,
    });
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(said).toMatchObject({ code: 1, err: '' });
    expect(said.out).toMatch(/WRONG {4}REDIS_ANSWERS/);
    expect(said.out).toMatch(/WRONG {4}POSTGRES_ANSWERS/);
  } finally {
    server.close();
  }
});

test('a cluster is looked at master by master', async () => {
  const ofCluster = join(folder, 'cluster');
  mkdirSync(ofCluster);
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  const cluster: RedisCluster = await startRedisCluster({ folder: ofCluster, distFolder, masters: 3 });
  try {
    for (const one of cluster.clients) await one.config('SET', 'maxmemory', '1gb');
    const lonely = cluster.nodes.map(() => 'REDIS_REPLICAS warning');
    expect(await faults({ REDIS_URL: cluster.url })).toEqual(lonely);
    await cluster.clients[1]?.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect(await faults({ REDIS_URL: cluster.url })).toEqual([...lonely, 'REDIS_EVICTION wrong']);
    await cluster.clients[1]?.config('SET', 'maxmemory-policy', 'noeviction');
    expect(await faults({ REDIS_URL: cluster.nodes[0]?.url })).toEqual(['REDIS_CLUSTER wrong']);
  } finally {
    await cluster.stop();
  }
});
