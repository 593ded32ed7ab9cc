/** npm run doctor on real servers: suitable ones, and ones with one wrong setting each. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { removeSystemFile, writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import { checkFacts, readFacts } from '@flash-sale/ops/doctor/examine.ts';
import type { DoctorReport, Finding } from '@flash-sale/ops/doctor/report.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runScript, type Said } from '../support/command.ts';
import { startOwnRedis, useFolder } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { root } from '../tidy/source-files.ts';

vi.setConfig({ testTimeout: 60_000 });

const TOKEN = 'mFq8-2xVt0Rz7_kLw9Ua';

const { path: folder } = useFolder();
// PostgreSQL runs under another account when we are root.
chmodSync(folder, 0o711);
const dataFolder = join(folder, 'data');
mkdirSync(dataFolder);
let redis: PrivateServer;
let postgres: PrivateServer;
let client: Redis;
let pool: pg.Pool;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startOwnRedis(folder), startPrivatePostgres({ folder })]);
  await migrateLedger(postgres.url);
  client = new Redis(redis.url);
  pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
  pool.on('error', () => {});
}, 120_000);
afterAll(async () => {
  client?.disconnect();
  await pool?.end();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

const healthy = () => ({
  NODE_ENV: 'production',
  AUTH: 'header',
  ADMIN_TOKEN: TOKEN,
  REDIS_URL: redis.url,
  DATABASE_URL: postgres.url,
  DATA_DIR: dataFolder,
  // Not one for each core of this machine.
  API_PROCESSES: '1',
  // Any machine lets a process open this many.
  MAX_CONNECTIONS: '500',
  OVERLOAD_IN_FLIGHT: '500',
});

const doctor = (changed: NodeJS.ProcessEnv = {}, args: string[] = []): Promise<Said> =>
  runScript('doctor', args, { ...healthy(), ...changed });

/** A busy machine may delay a round trip or fill a disk. */
const OF_THE_MACHINE = ['REDIS_LATENCY', 'DISK'];

async function findings(changed: Record<string, string | undefined> = {}): Promise<Finding[]> {
  const settings = readEnvironment({ ...healthy(), ...changed });
  const facts = await readFacts({ settings, folders: [dataFolder], timeoutMs: 20_000, roundTrips: 5 });
  return checkFacts(facts, 'all');
}

const faultsOf = (found: readonly Finding[]): string[] =>
  found
    .filter(({ code, outcome }) => outcome !== 'ok' && !OF_THE_MACHINE.includes(code))
    .map(({ code, outcome }) => `${code} ${outcome}`);
const faults = async (changed: Record<string, string | undefined> = {}) => faultsOf(await findings(changed));

test.concurrent('the servers of `npm start` pass with suitable settings: only ok, exit code 0, no secrets', async () => {
  const said = await vi.waitFor(async () => {
    await client.slowlog('RESET');
    const one = await doctor();
    expect(one.code).toBe(0);
    return one;
  }, 30_000);
  expect(said.stderr).toBe('');
  expect(said.stdout).toMatch(/^ {2}ok {7}REDIS_PERSISTENCE {5}append-only file, appendfsync everysec$/m);
  expect(said.stdout).toMatch(/\n\n\d\d checks: all ok\n$/);
  expect(said.stdout).not.toMatch(/WARNING|WRONG|why:/);
  for (const secret of [TOKEN, new URL(redis.url).password, new URL(postgres.url).password]) {
    expect(said.stdout).not.toContain(secret);
  }
});

test.concurrent('exit code 1 for an invalid setting, 2 for warnings only; an unknown option gets the usage', async () => {
  const unfit = { ADMIN_TOKEN: 'tooshort', PORT: 'x' };
  const [unreadable, json, warned, usage] = await Promise.all([
    doctor(unfit),
    doctor(unfit, ['--json']),
    doctor({ NODE_ENV: 'development' }, ['--json']),
    doctor({}, ['--loud']),
  ]);
  expect(unreadable).toMatchObject({ code: 1, stderr: '' });
  expect(unreadable.stdout).toMatch(/PORT is "x"/);
  expect(unreadable.stdout).toMatch(/1 check: 2 wrong\n$/);
  expect(unreadable.stdout).not.toContain('tooshort');
  const { findings } = JSON.parse(json.stdout) as DoctorReport;
  expect(faultsOf(findings)).toEqual(['SETTINGS wrong', 'SETTINGS wrong']);
  expect(faultsOf((JSON.parse(warned.stdout) as DoctorReport).findings)).toEqual(['MODE warning']);
  expect(warned.code).toBe(2);
  expect(usage).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringContaining('Usage: npm run doctor -- [--json'),
  });
});

test('scripts/check_redis.sh shows the checks of Redis, and fails if it does not answer', async () => {
  const check = (changed: Record<string, string>) => {
    const env = { PATH: process.env.PATH, ...healthy(), ...changed };
    return spawnSync(join(root, 'scripts', 'check_redis.sh'), { env, encoding: 'utf8' });
  };
  const answers = check({});
  expect(answers.stdout).toMatch(/^ {2}ok +REDIS_ANSWERS/m);
  expect(answers.stdout).not.toContain('POSTGRES_');
  expect(answers.status).toBe(0);
  const dead = check({ REDIS_URL: 'redis://127.0.0.1:9' });
  expect(dead.stdout).toContain('No Redis answers at redis://127.0.0.1:9');
  expect(dead.status).toBe(1);
});

test('the settings of the running system are found and checked', async () => {
  const bare = Object.fromEntries(Object.keys(healthy()).map((name) => [name, undefined]));
  writeSystemFile(dataFolder, { ...healthy(), KEY_PREFIX: 'other', GLOBAL_RATE_LIMIT: '0' });
  const said = await doctor({ ...bare, DATA_DIR: dataFolder, PORT: '5098' }, ['--json']);
  removeSystemFile(dataFolder);
  const { findings } = JSON.parse(said.stdout) as DoctorReport;
  expect(findings[0]?.found).toMatch(
    /^all are valid: those of the system that runs on .*data, except PORT, which is set here$/,
  );
  expect(faultsOf(findings)).toEqual(['RATE_LIMITS warning']);
});

test.concurrent('servers that are unavailable or silent are reported within seconds, without their secrets', async () => {
  const closed = await freePort();
  const silent = await freePort();
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(silent, '127.0.0.1', resolve));
  const at = (port: number) => ({
    REDIS_URL: `redis://u:topsecret@127.0.0.1:${port}`,
    DATABASE_URL: `postgres://u:topsecret@127.0.0.1:${port}/d`,
  });
  try {
    const started = performance.now();
    const [refused, unanswered] = await Promise.all([doctor(at(closed)), doctor(at(silent))]);
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(refused).toMatchObject({ code: 1, stderr: '' });
    expect(refused.stdout).toMatch(/WRONG {4}REDIS_ANSWERS {9}No Redis answers at .*ECONNREFUSED/);
    expect(refused.stdout).toMatch(/fix: Start it, or correct DATABASE_URL\.$/m);
    expect(refused.stdout).not.toMatch(/topsecret|\n {4}at /);
    expect(unanswered).toMatchObject({ code: 1, stderr: '' });
    expect(unanswered.stdout).toMatch(/WRONG {4}REDIS_ANSWERS[\s\S]*WRONG {4}POSTGRES_ANSWERS/);
  } finally {
    server.close();
  }
});

test.concurrent('every master of a cluster is checked', async () => {
  const ofCluster = join(folder, 'cluster');
  mkdirSync(ofCluster);
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  const cluster: RedisCluster = await startRedisCluster({ folder: ofCluster, distFolder, masters: 3 });
  try {
    for (const one of cluster.clients) await one.config('SET', 'maxmemory', '1gb');
    await cluster.clients[1]?.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const lonely = cluster.nodes.map(() => 'REDIS_REPLICAS warning');
    expect(await faults({ REDIS_URL: cluster.url })).toEqual([...lonely, 'REDIS_MEMORY wrong']);
    await cluster.clients[1]?.config('SET', 'maxmemory-policy', 'noeviction');
    expect(await faults({ REDIS_URL: cluster.nodes[0]?.url })).toEqual(['REDIS_ANSWERS wrong']);
  } finally {
    await cluster.stop();
  }
});

test.each<[string, string, string]>([
  ['maxmemory-policy', 'allkeys-lru', 'REDIS_MEMORY wrong'],
  ['maxmemory', '0', 'REDIS_MEMORY warning'],
  ['maxmemory', '10mb', 'REDIS_MEMORY warning'],
  ['appendonly', 'no', 'REDIS_PERSISTENCE warning'],
  ['appendfsync', 'no', 'REDIS_PERSISTENCE warning'],
  ['auto-aof-rewrite-min-size', '64mb', 'REDIS_TUNING warning'],
  ['hash-max-listpack-entries', '512', 'REDIS_TUNING warning'],
  ['lazyfree-lazy-expire', 'no', 'REDIS_TUNING warning'],
  ['requirepass', '', 'REDIS_LOGIN warning'],
])('Redis with %s "%s": %s', async (name, value, expected) => {
  const [, before = ''] = (await client.config('GET', name)) as string[];
  await client.config('SET', name, value);
  try {
    expect(await faults()).toEqual([expected]);
  } finally {
    await client.config('SET', name, before);
  }
});

test('Redis as a replica; a slow command, which is reported by its name only', async () => {
  await client.replicaof('127.0.0.1', await freePort());
  try {
    expect(await faults()).toEqual(['REDIS_WRITABLE wrong']);
  } finally {
    await client.replicaof('NO', 'ONE');
  }
  await client.eval(
    "local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1e6 + n[2] - t[2] > 150000",
    0,
    'whose',
  );
  const latency = (await findings()).find(({ code }) => code === 'REDIS_LATENCY');
  await client.slowlog('RESET');
  expect(latency).toMatchObject({ outcome: 'warning', found: expect.stringMatching(/EVAL took 1\d\d ms$/) });
  expect(JSON.stringify(latency)).not.toContain('whose');
});

test('PostgreSQL that loses commits, has a stricter isolation level and is read-only', async () => {
  const settings = {
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
    default_transaction_isolation: "'repeatable read'",
    default_transaction_read_only: 'on',
  };
  for (const [name, value] of Object.entries(settings)) await pool.query(`ALTER SYSTEM SET ${name} = ${value}`);
  await pool.query('SELECT pg_reload_conf()');
  try {
    await vi.waitFor(
      async () => expect(await faults()).toEqual(['POSTGRES_WRITABLE wrong', 'POSTGRES_SETTINGS wrong']),
      10_000,
    );
    expect((await findings()).find(({ code }) => code === 'POSTGRES_SETTINGS')?.found).toBe(
      'fsync is off, full_page_writes is off, synchronous_commit is off, default isolation repeatable read',
    );
  } finally {
    await pool.query('SET default_transaction_read_only = off');
    for (const name of Object.keys(settings)) await pool.query(`ALTER SYSTEM RESET ${name}`);
    await pool.query('SELECT pg_reload_conf()');
  }
});

test('a role with fewer connections than the pools, and a ledger without migrations', async () => {
  await pool.query('ALTER ROLE flash_sale CONNECTION LIMIT 20');
  try {
    expect(await faults()).toEqual(['POSTGRES_CONNECTIONS wrong']);
  } finally {
    await pool.query('ALTER ROLE flash_sale CONNECTION LIMIT -1');
  }
  await pool.query('CREATE DATABASE bare');
  const bare = postgres.url.replace(/\/flash_sale$/, '/bare');
  expect(await faults({ DATABASE_URL: bare })).toEqual(['POSTGRES_MIGRATIONS wrong']);
});
