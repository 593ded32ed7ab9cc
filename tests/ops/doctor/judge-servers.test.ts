/** Servers and machine by facts that no test can bring about for real, and by the others as well: one bad fact is one finding. */

import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import type { Finding } from '@flash-sale/ops/doctor/checks.ts';
import type { Facts } from '@flash-sale/ops/doctor/collect-facts.ts';
import { judgeFacts } from '@flash-sale/ops/doctor/judge-facts.ts';
import { printReport } from '@flash-sale/ops/doctor/print-report.ts';
import type { SeenPostgres } from '@flash-sale/ops/doctor/read-postgres.ts';
import type { RedisNode, SeenRedis } from '@flash-sale/ops/doctor/read-redis.ts';
import { expect, test } from 'vitest';
import { GIB, node, postgres } from '../../support/fit-servers.ts';

const settings = readEnvironment({
  NODE_ENV: 'production',
  AUTH: 'header',
  ADMIN_TOKEN: 'mFq8-2xVt0Rz7_kLw9Ua',
  DATABASE_POOL_SIZE: '20',
  WORKER_PROCESSES: '2',
});

const redisOf = (...nodes: RedisNode[]): SeenRedis => ({
  nodes,
  queuePrefix: '{p}',
});
const good: Facts = {
  settings,
  redis: redisOf(node),
  postgres,
  outdated: null,
  nodeVersion: '24.21.0',
  openFiles: 65_536,
  disks: [{ folders: ['/var/lib/shop'], freeBytes: 100 * GIB }],
};

const bad = (changed: Partial<Facts>): Finding[] =>
  judgeFacts({ ...good, ...changed }, 'all').filter(({ outcome }) => outcome !== 'ok');
const badRedis = (changed: Partial<RedisNode>): Finding[] => bad({ redis: redisOf({ ...node, ...changed }) });
const badPostgres = (changed: Partial<SeenPostgres>): Finding[] => bad({ postgres: { ...postgres, ...changed } });

const atStart = (changed: Partial<SeenPostgres>): Finding[] =>
  judgeFacts({ ...good, postgres: { ...postgres, ...changed } }, 'worker').filter(({ outcome }) => outcome !== 'ok');

test('servers and a machine that are fit yield nothing', () => {
  expect(bad({})).toEqual([]);
  // Without TLS on the way to oneself; with a provider's login that may not ask who else has one.
  expect(badRedis({ host: '127.0.0.1', tls: false })).toEqual([]);
  expect(badRedis({ opensToAnybody: null })).toEqual([]);
  expect(badPostgres({ host: 'localhost', tls: false })).toEqual([]);
  expect(badPostgres({ host: '/var/run/postgresql', tls: false })).toEqual([]);
  expect(bad({ openFiles: null, disks: [] })).toEqual([]);
  expect(badRedis({ named: 'sentinel', replicas: 2, replicasToWrite: 1 })).toEqual([]);
  expect(badRedis({ clock: { aheadMs: 1_400, unsureMs: 500 } })).toEqual([]);
});

test.each<[string, 'warning' | 'wrong', string, Finding[], RegExp]>([
  ['REDIS_VERSION', 'wrong', '6.2.1', badRedis({ version: '6.2.1' }), /7 or newer/],
  ['REDIS_LOGIN', 'wrong', 'no password', badRedis({ opensToAnybody: true }), /requirepass/],
  ['REDIS_LOGIN', 'wrong', 'no password', badRedis({ opensToAnybody: null, loggedIn: false }), /requirepass/],
  ['REDIS_LOGIN', 'warning', 'on this machine', badRedis({ host: '::1', opensToAnybody: true }), /requirepass/],
  ['REDIS_TLS', 'warning', 'another machine', badRedis({ tls: false }), /rediss:/],
  ['REDIS_WRITABLE', 'wrong', 'it is a slave', badRedis({ role: 'slave' }), /primary/],
  ['REDIS_WRITABLE', 'wrong', 'writing to the disk failed', badRedis({ persists: false }), /INFO persistence/],
  ['REDIS_REPLICAS', 'warning', 'no replica', badRedis({ named: 'cluster', replicas: 0 }), /INFO replication/],
  [
    'REDIS_REPLICAS',
    'warning',
    'goes on accepting',
    badRedis({ named: 'sentinel', replicas: 2 }),
    /CONFIG SET min-replicas-to-write 1/,
  ],
  [
    'REDIS_REPLICAS',
    'warning',
    'has one fewer',
    badRedis({ named: 'cluster', replicasToWrite: 1 }),
    /CONFIG SET min-replicas-to-write 0/,
  ],
  [
    'REDIS_EVICTION',
    'wrong',
    'allkeys-lru',
    badRedis({ policy: 'allkeys-lru' }),
    /CONFIG SET maxmemory-policy noeviction/,
  ],
  ['REDIS_AOF', 'warning', 'off', badRedis({ appendOnly: false }), /CONFIG SET appendonly yes/],
  ['REDIS_APPENDFSYNC', 'warning', 'no: ', badRedis({ appendFsync: 'no' }), /CONFIG SET appendfsync everysec/],
  ['REDIS_APPENDFSYNC', 'warning', 'does not show', badRedis({ appendFsync: null }), /provider/],
  [
    'REDIS_AOF_REWRITE',
    'warning',
    '64 MiB',
    badRedis({ rewriteMinBytes: GIB / 16 }),
    /auto-aof-rewrite-min-size 256mb/,
  ],
  ['REDIS_AOF_REWRITE', 'warning', 'does not show', badRedis({ rewriteMinBytes: null }), /provider/],
  ['REDIS_LAZY_EXPIRE', 'warning', 'no: ', badRedis({ expiresLazily: false }), /CONFIG SET lazyfree-lazy-expire yes/],
  ['REDIS_LAZY_EXPIRE', 'warning', 'does not show', badRedis({ expiresLazily: null }), /provider/],
  [
    'REDIS_SMALL_HASHES',
    'warning',
    '512 fields',
    badRedis({ listpackEntries: 512 }),
    /CONFIG SET hash-max-listpack-entries 64/,
  ],
  ['REDIS_SMALL_HASHES', 'warning', 'does not show', badRedis({ listpackEntries: null }), /provider/],
  ['REDIS_MEMORY', 'warning', 'no maxmemory', badRedis({ maxBytes: 0 }), /CONFIG SET maxmemory 2048mb/],
  ['REDIS_MEMORY', 'warning', '102 MiB of 1 GiB', badRedis({ usedBytes: GIB * 0.9 }), /CONFIG SET maxmemory 2048mb,/],
  // Redis refuses 1.5gb.
  [
    'REDIS_MEMORY',
    'warning',
    'of 768 MiB',
    badRedis({ maxBytes: GIB * 0.75, usedBytes: GIB * 0.7 }),
    /maxmemory 1536mb,/,
  ],
  [
    'REDIS_MEMORY',
    'warning',
    'BACKLOG_LIMIT=50000',
    badRedis({ maxBytes: GIB / 8, usedBytes: GIB / 9 }),
    /lower BACKLOG_LIMIT/,
  ],
  ['REDIS_MEMORY', 'wrong', 'refuses orders', badRedis({ usedBytes: GIB }), /maxmemory/],
  ['REDIS_LATENCY', 'warning', 'median 7.0 ms', badRedis({ roundTripsMs: [7, 6, 8] }), /--latency/],
  ['REDIS_LATENCY', 'warning', 'worst 300 ms', badRedis({ roundTripsMs: [0.2, 0.3, 300] }), /SLOWLOG/],
  ['REDIS_LATENCY', 'warning', 'KEYS took 240 ms', badRedis({ slowest: { command: 'KEYS', ms: 240 } }), /SLOWLOG/],
  [
    'REDIS_CLOCK',
    'warning',
    "2000 ms ahead of this machine's",
    badRedis({ clock: { aheadMs: 2_000, unsureMs: 5 } }),
    /chronyc/,
  ],
  ['REDIS_CLOCK', 'wrong', '60000 ms behind', badRedis({ clock: { aheadMs: -60_000, unsureMs: 5 } }), /chronyc/],
  [
    'REDIS_CLUSTER',
    'wrong',
    'names one server',
    badRedis({ cluster: { ok: true, slots: 16_384, masters: 3 } }),
    /redis\+cluster:/,
  ],
  [
    'REDIS_CLUSTER',
    'wrong',
    '10000 of 16384',
    badRedis({ cluster: { ok: false, slots: 10_000, masters: 1 } }),
    /CLUSTER INFO/,
  ],
  [
    'REDIS_ANSWERS',
    'wrong',
    'h (ECONNREFUSED)',
    bad({ redis: { unseen: 'No Redis answers at h (ECONNREFUSED). Start it, or correct REDIS_URL.' } }),
    /^Start it/,
  ],
  [
    'REDIS_ANSWERS',
    'wrong',
    'within 5000 ms',
    bad({ redis: { unseen: 'It did not answer everything within 5000 ms.' } }),
    /correct REDIS_URL/,
  ],
  [
    'POSTGRES_ANSWERS',
    'wrong',
    'within 5000 ms',
    bad({ postgres: { unseen: 'It did not answer within 5000 ms.' }, outdated: undefined }),
    /DATABASE_URL/,
  ],
  ['POSTGRES_VERSION', 'wrong', '14.2', badPostgres({ version: '14.2' }), /15 or newer/],
  ['POSTGRES_LOGIN', 'wrong', 'no password', badPostgres({ asksForLogin: false }), /scram-sha-256/],
  [
    'POSTGRES_LOGIN',
    'warning',
    'on this machine',
    badPostgres({ host: '127.0.0.1', asksForLogin: false }),
    /scram-sha-256/,
  ],
  ['POSTGRES_TLS', 'warning', 'another machine', badPostgres({ tls: false }), /sslmode=verify-full/],
  ['POSTGRES_WRITABLE', 'wrong', 'standby', badPostgres({ standby: true }), /primary/],
  ['POSTGRES_WRITABLE', 'wrong', 'read_only', badPostgres({ readOnly: true }), /default_transaction_read_only = off/],
  ['POSTGRES_ISOLATION', 'wrong', 'serializable', badPostgres({ isolation: 'serializable' }), /read committed/],
  ['POSTGRES_DURABILITY', 'wrong', 'off: fsync', badPostgres({ fsync: false }), /fsync = on/],
  [
    'POSTGRES_DURABILITY',
    'wrong',
    'off: full_page_writes',
    badPostgres({ fullPageWrites: false }),
    /full_page_writes = on/,
  ],
  [
    'POSTGRES_DURABILITY',
    'wrong',
    'off: synchronous_commit',
    badPostgres({ synchronousCommit: 'off' }),
    /synchronous_commit = on/,
  ],
  [
    'POSTGRES_CONNECTIONS',
    'wrong',
    '65 for 1 API + 2 worker',
    badPostgres({ maxConnections: 60 }),
    /max_connections = 125/,
  ],
  ['POSTGRES_CONNECTIONS', 'wrong', 'of 40', badPostgres({ boundOfLogin: 40 }), /DATABASE_POOL_SIZE/],
  ['POSTGRES_CONNECTIONS', 'warning', 'others have 40', badPostgres({ usedByOthers: 40 }), /max_connections/],
  [
    'POSTGRES_CONNECTIONS',
    'warning',
    'processes of all machines have 90, others have 10 of 97',
    badPostgres({ ours: 90, usedByOthers: 10 }),
    /max_connections = 165/,
  ],
  [
    'POSTGRES_CONNECTIONS',
    'warning',
    '20 for this process; processes of all machines have 76',
    atStart({ ours: 76 }),
    /max_connections = 120/,
  ],
  ['POSTGRES_MIGRATIONS', 'wrong', 'missing: x', bad({ outdated: 'missing: x' }), /npm run migrate/],
  ['POSTGRES_CLOCK', 'warning', '2000 ms behind', badPostgres({ clock: { aheadMs: -2_000, unsureMs: 1 } }), /chronyc/],
  [
    'POSTGRES_CLOCK',
    'warning',
    '1700 ms behind that of Redis',
    bad({
      redis: redisOf({ ...node, clock: { aheadMs: 900, unsureMs: 1 } }),
      postgres: { ...postgres, clock: { aheadMs: -800, unsureMs: 1 } },
    }),
    /chronyc/,
  ],
  ['NODE_VERSION', 'wrong', '20.1.0', bad({ nodeVersion: '20.1.0' }), /Node 24/],
  ['OPEN_FILES', 'wrong', '1024', bad({ openFiles: 1_024 }), /ulimit -n 15200/],
  ['DISK', 'warning', '2 GiB free', bad({ disks: [{ folders: ['/d'], freeBytes: 2 * GIB }] }), /df -h \/d/],
  ['DISK', 'wrong', '1 MiB free', bad({ disks: [{ folders: ['/d'], freeBytes: 1024 ** 2 }] }), /df -h \/d/],
])('%s is %s: %s', (code, outcome, found, findings, mend) => {
  expect(findings.map((finding) => [finding.code, finding.outcome])).toEqual([[code, outcome]]);
  expect(findings[0]?.found).toContain(found);
  expect(findings[0]?.mend).toMatch(mend);
});

test.each<[string, Partial<SeenPostgres>]>([
  ['db.example is another machine', {}],
  ['our role may not ask for data_directory', { host: '127.0.0.1' }],
  ['/elsewhere is not here', { host: '/run/postgresql', dataFolder: '/elsewhere' }],
])('the disk of PostgreSQL, where it was not looked at, is said to be so: %s', (why, changed) => {
  const said = judgeFacts({ ...good, postgres: { ...postgres, ...changed } }, 'all');
  expect(said.filter(({ code }) => code === 'DISK').at(-1)).toMatchObject({
    outcome: 'ok',
    found: expect.stringContaining(`that of PostgreSQL was not seen: ${why}`),
  });
});

test('masters that are well share a line; one that is not has its own, with its place and a command for it', () => {
  const masters = [1, 2, 3].map((n) => ({
    ...node,
    host: `10.0.0.${n}`,
    named: 'cluster' as const,
    cluster: { ok: true, slots: 16_384, masters: 3 },
  }));
  const all = judgeFacts({ ...good, redis: redisOf(...masters) }, 'all');
  expect(all.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
  expect(all.find(({ code }) => code === 'REDIS_VERSION')?.found).toBe('7.2.4 (3 masters)');
  expect(all.find(({ code }) => code === 'REDIS_CLUSTER')?.found).toContain("the queue's keys share one: {p}");
  const [first, second, third] = masters as [RedisNode, RedisNode, RedisNode];
  expect(bad({ redis: redisOf(first, { ...second, policy: 'allkeys-lru' }, third) })).toMatchObject([
    {
      code: 'REDIS_EVICTION',
      found: '10.0.0.2:6379: maxmemory-policy allkeys-lru: no process starts on it',
      mend: expect.stringContaining('redis-cli -h 10.0.0.2 -p 6379 --askpass CONFIG SET'),
    },
  ]);
});

test('people read one aligned line a check, why and what to do below it, and the sum', () => {
  const findings = [...bad({ nodeVersion: '20.1.0\x1b[2J' }), ...badRedis({ appendFsync: 'no' })];
  expect(printReport({ at: '', outcome: 'wrong', findings })).toBe(
    [
      '  WRONG    NODE_VERSION          20.1.0�[2J',
      '                                 why: Node runs the TypeScript as it stands; older ones do not, or do it as a trial.',
      '                                 do:  Node 24: "npm start" brings it along, else https://nodejs.org',
      '  WARNING  REDIS_APPENDFSYNC     no: mostly up to 30 s',
      '                                 why: It decides how many seconds of accepted orders a power cut may take.',
      '                                 do:  redis-cli -u "$REDIS_URL" CONFIG SET appendfsync everysec, and in its file (CONFIG REWRITE)',
      '',
      '2 checks: 1 wrong, 1 warning',
      '',
    ].join('\n'),
  );
  expect(printReport({ at: '', outcome: 'ok', findings: [] })).toMatch(/0 checks: all is well\n$/);
});
