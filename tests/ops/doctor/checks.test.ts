/** The doctor's checks: each changed setting or fact is one finding, and good ones yield none. */
import { checkFacts } from '@flash-sale/ops/doctor/examine.ts';
import type { RedisNode } from '@flash-sale/ops/doctor/redis.ts';
import { exitCodeOf, printReport, reportOf } from '@flash-sale/ops/doctor/report.ts';
import { expect, test } from 'vitest';
import {
  bad,
  type Changed,
  CONFIG,
  cluster,
  config,
  env,
  GIB,
  good,
  hidden,
  INFO,
  info,
  infoOf,
  JWT,
  MIB,
  metricsOn,
  node,
  pg,
  pgSet,
  postgres,
  redis,
} from './facts.ts';

test.each<[string, Changed]>([
  ['as they are', {}],
  ['JWT', env(JWT)],
  ['an admin port and an origin', env({ ADMIN_PORT: '5002', CORS_ORIGINS: 'https://shop.example' })],
  ['this machine only', env({ HOST: '127.0.0.1', TRUST_PROXY: 'loopback' })],
  ['this machine only, without limits by address', env({ HOST: '::1', TRUST_PROXY: '', IP_RATE_LIMIT: '0' })],
  ...['10.0.0.4', '127.0.0.1', '::1', 'fd00::4', '::ffff:10.0.0.4', 'localhost', 'metrics.internal'].map(
    (host): [string, Changed] => [`metrics on ${host}`, metricsOn(host)],
  ),
  ...['10.0.0.0/8', '2001:db8::/32', '::ffff:10.0.0.0/104', 'uniquelocal, 10.1.2.3'].map((range): [string, Changed] => [
    `proxies in ${range}`,
    env({ TRUST_PROXY: range }),
  ]),
  ['a local Redis without TLS', redis({ host: '127.0.0.1', tls: false })],
  ['a user who may not ask about others', redis({ isOpen: null })],
  [
    'sentinels',
    config({ 'min-replicas-to-write': '1' }, { named: 'sentinel', info: infoOf({ ...INFO, connected_slaves: 2 }) }),
  ],
  ['a slow answer about the time', redis({ clock: { aheadMs: 1_400, unsureMs: 500 } })],
  ['a local PostgreSQL without TLS', pg({ host: '/var/run/postgresql', tls: 'none' })],
  ['a system that tells nothing of its machine', { openFiles: null, disks: [] }],
])('nothing is found: %s', (_, changed) => {
  expect(bad(changed)).toEqual([]);
});

const LATE = { unread: 'It did not answer all queries within 5000 ms.' };
const REFUSED = { unread: 'No Redis answers at h (ECONNREFUSED). Start it, or correct REDIS_URL.' };

type Case = [code: string, outcome: 'warning' | 'wrong', found: string, changed: Changed, fix: RegExp];
const cases: Case[] = [
  ['MODE', 'warning', 'development', env({ NODE_ENV: 'development' }), /NODE_ENV=production/],
  ['AUTH', 'wrong', 'AUTH is not set', env({ AUTH: undefined }), /AUTH=jwt.*or AUTH=header/],
  ['AUTH', 'wrong', 'JWT_SECRET are not set', env({ ...JWT, JWT_SECRET: undefined }), /needs one of them/],
  ['SECRETS', 'wrong', 'ADMIN_TOKEN is not set', env({ ADMIN_TOKEN: undefined }), /^ADMIN_TOKEN=/],
  ['SECRETS', 'wrong', 'a well-known word', env({ ADMIN_TOKEN: 'change-me-change-me' }), /^ADMIN_TOKEN=/],
  ['SECRETS', 'wrong', 'a well-known word', env({ ADMIN_TOKEN: 'flash-sale-admin-token' }), /^ADMIN_TOKEN=/],
  ['SECRETS', 'wrong', 'fewer than 6 different', env({ ADMIN_TOKEN: 'aaaaaaaabbbbbbbb' }), /^ADMIN_TOKEN=/],
  ['SECRETS', 'wrong', 'a row of', env({ ADMIN_TOKEN: 'abcdefghijklmnop' }), /^ADMIN_TOKEN=/],
  ['SECRETS', 'wrong', 'JWT_SECRET is made of', env({ ...JWT, JWT_SECRET: 'abab'.repeat(10) }), /^JWT_SECRET=/],
  ['HOST', 'warning', 'names no gateway', env({ TRUST_PROXY: '' }), /TRUST_PROXY.*HOST=127/],
  ['HOST', 'warning', 'every address', env({ ADMIN_PORT: '5002', ADMIN_HOST: '0:0::0' }), /ADMIN_HOST=/],
  ['TRUST_PROXY', 'wrong', '0.0.0.0/0', env({ TRUST_PROXY: '10.0.0.1,0.0.0.0/0' }), /TRUST_PROXY=/],
  ['TRUST_PROXY', 'wrong', '::/0', env({ TRUST_PROXY: '::/0' }), /TRUST_PROXY=/],
  ...['0.0.0.0/1, 128.0.0.0/1', '::ffff:0:0/96', '::/80', '::ffff:8000:0/97', '2001::/16'].map(
    (range): Case => ['TRUST_PROXY', 'warning', range, env({ TRUST_PROXY: range }), /TRUST_PROXY=/],
  ),
  ['RATE_LIMITS', 'warning', 'off: GLOBAL_RATE_LIMIT', env({ GLOBAL_RATE_LIMIT: '0' }), /GLOBAL_RATE_LIMIT=/],
  ['RATE_LIMITS', 'warning', 'off: RATE_LIMIT_TOKENS', env({ RATE_LIMIT_TOKENS: '0' }), /RATE_LIMIT_TOKENS=/],
  ['RATE_LIMITS', 'warning', 'off: IP_RATE_LIMIT', env({ IP_RATE_LIMIT: '0' }), /IP_RATE_LIMIT=200/],
  ['RATE_LIMITS', 'warning', 'shared', env({ HOST: 'localhost', TRUST_PROXY: '' }), /TRUST_PROXY=loopback/],
  ['BACKLOG', 'warning', 'LEDGER_BEHIND', env({ BACKLOG_LIMIT: '1999', GLOBAL_RATE_LIMIT: '2000' }), /LIMIT=20000/],
  ['TIMEOUTS', 'warning', 'a process that stops', env({ SHUTDOWN_DRAIN_MS: '0' }), /SHUTDOWN_DRAIN_MS=5000/],
  ['CORS', 'warning', 'http://shop.example', env({ CORS_ORIGINS: 'http://shop.example' }), /https:/],
  ...['0.0.0.0', '::0', '0', '::ffff:0.0.0.0'].map(
    (host): Case => ['METRICS', 'warning', 'every address', metricsOn(host), /METRICS_HOST=/],
  ),
  ...['93.184.216.34', '2a00:1450::1'].map(
    (host): Case => ['METRICS', 'warning', `${host}: a public`, metricsOn(host), /METRICS_HOST=/],
  ),
  ['LOG_LEVEL', 'warning', 'error', env({ LOG_LEVEL: 'error' }), /LOG_LEVEL=info/],
  // The machine
  ['OPEN_FILES', 'wrong', '1024', { openFiles: 1_024 }, /ulimit -n 15200/],
  ['DISK', 'warning', '2 GiB free', { disks: [{ folders: ['/d'], freeBytes: 2 * GIB }] }, /df -h \/d/],
  ['DISK', 'wrong', '1 MiB free', { disks: [{ folders: ['/d'], freeBytes: MIB }] }, /df -h \/d/],
  ['CLOCKS', 'warning', '2003 ms ahead of', redis({ clock: { aheadMs: 2_000, unsureMs: 1 } }), /chronyc/],
  ['CLOCKS', 'wrong', '60000 ms behind this machine', redis({ clock: { aheadMs: -60_000, unsureMs: 1 } }), /chronyc/],
  [
    'CLOCKS',
    'warning',
    'Redis at redis.example:6379 is 1700 ms ahead of PostgreSQL',
    { ...redis({ clock: { aheadMs: 900, unsureMs: 1 } }), ...pg({ clock: { aheadMs: -800, unsureMs: 1 } }) },
    /chronyc/,
  ],
  // Redis
  ['REDIS_ANSWERS', 'wrong', 'h (ECONNREFUSED)', { redis: REFUSED }, /^Start it/],
  ['REDIS_ANSWERS', 'wrong', 'within 5000 ms', { redis: LATE }, /correct REDIS_URL/],
  ['REDIS_ANSWERS', 'wrong', '6.2.1', info({ redis_version: '6.2.1' }), /7 or newer/],
  ['REDIS_ANSWERS', 'wrong', 'names one server', cluster({}, 'server'), /redis\+cluster:/],
  ['REDIS_ANSWERS', 'wrong', '10000 of 16384', cluster({ cluster_slots_ok: 10_000 }, 'cluster'), /CLUSTER INFO/],
  ['REDIS_LOGIN', 'wrong', 'no password', redis({ isOpen: true }), /requirepass/],
  ['REDIS_LOGIN', 'warning', 'on this machine', redis({ host: '::1', isOpen: true }), /requirepass/],
  ['REDIS_LOGIN', 'warning', 'a well-known word', redis({ weakness: 'a well-known word' }), /requirepass/],
  ['REDIS_TLS', 'warning', 'another machine', redis({ tls: false }), /rediss:/],
  ['REDIS_WRITABLE', 'wrong', 'it is a slave', info({ role: 'slave' }), /master/],
  ['REDIS_WRITABLE', 'wrong', 'write to disk failed', info({ aof_last_write_status: 'err' }), /INFO persistence/],
  ['REDIS_REPLICAS', 'warning', 'no replica', info({ connected_slaves: 0 }, { named: 'cluster' }), /INFO replication/],
  ['REDIS_REPLICAS', 'warning', 'are lost', redis({ named: 'sentinel' }), /CONFIG SET min-replicas-to-write 1/],
  [
    'REDIS_REPLICAS',
    'warning',
    'has one fewer',
    config({ 'min-replicas-to-write': '1' }, { named: 'cluster' }),
    /CONFIG SET min-replicas-to-write 0/,
  ],
  ['REDIS_MEMORY', 'wrong', 'allkeys-lru', info({ maxmemory_policy: 'allkeys-lru' }), /maxmemory-policy noeviction/],
  ['REDIS_MEMORY', 'warning', 'is not set', info({ maxmemory: 0 }), /CONFIG SET maxmemory 2048mb/],
  ['REDIS_MEMORY', 'warning', '102 MiB of 1 GiB', info({ used_memory: GIB * 0.9 }), /CONFIG SET maxmemory 2048mb,/],
  // Redis takes no fractions.
  ['REDIS_MEMORY', 'warning', 'of 768 MiB', info({ maxmemory: 768 * MIB, used_memory: 700 * MIB }), / 1536mb,/],
  ['REDIS_MEMORY', 'warning', '=50000 orders', info({ maxmemory: GIB / 8, used_memory: GIB / 9 }), /BACKLOG_LIMIT/],
  ['REDIS_MEMORY', 'wrong', 'refuses orders', info({ used_memory: GIB }), /maxmemory/],
  ['REDIS_PERSISTENCE', 'warning', 'no append-only', info({ aof_enabled: 0 }), /CONFIG SET appendonly yes/],
  ['REDIS_PERSISTENCE', 'warning', 'appendfsync no', config({ appendfsync: 'no' }), /CONFIG SET appendfsync everysec/],
  ['REDIS_PERSISTENCE', 'warning', 'hidden', hidden('appendfsync'), /provider/],
  [
    'REDIS_TUNING',
    'warning',
    'hash-max-listpack-entries 512, lazyfree-lazy-expire no, auto-aof-rewrite-min-size 67108864',
    config({
      'hash-max-listpack-entries': '512',
      'lazyfree-lazy-expire': 'no',
      'auto-aof-rewrite-min-size': String(64 * MIB),
    }),
    /CONFIG SET hash-max-listpack-entries 64 lazyfree-lazy-expire yes auto-aof-rewrite-min-size 256mb/,
  ],
  ['REDIS_TUNING', 'warning', 'hidden', hidden(...Object.keys(CONFIG).slice(3)), /provider/],
  ['REDIS_LATENCY', 'warning', 'median 7.0 ms', redis({ roundTripsMs: [7, 6, 8] }), /--latency/],
  ['REDIS_LATENCY', 'warning', 'worst 300 ms', redis({ roundTripsMs: [0.2, 0.3, 300] }), /SLOWLOG/],
  ['REDIS_LATENCY', 'warning', 'KEYS took 240 ms', redis({ slowest: { command: 'KEYS', ms: 240 } }), /SLOWLOG/],
  // PostgreSQL
  ['POSTGRES_ANSWERS', 'wrong', 'within 5000 ms', { postgres: LATE }, /DATABASE_URL/],
  ['POSTGRES_ANSWERS', 'wrong', '14.2', pgSet({ server_version: '14.2' }), /15 or newer/],
  ['POSTGRES_LOGIN', 'wrong', 'no password', pg({ isOpen: true }), /scram-sha-256/],
  ['POSTGRES_LOGIN', 'warning', 'on this machine', pg({ host: '127.0.0.1', isOpen: true }), /scram-sha-256/],
  ['POSTGRES_LOGIN', 'warning', 'a well-known word', pg({ weakness: 'a well-known word' }), /password/],
  ['POSTGRES_TLS', 'warning', 'another machine', pg({ tls: 'none' }), /sslmode=verify-full/],
  ['POSTGRES_TLS', 'warning', 'not verified', pg({ tls: 'unverified' }), /sslmode=verify-full/],
  [
    'POSTGRES_WRITABLE',
    'wrong',
    'it is a standby',
    pg({ writeFault: { isStandby: true, found: 'is a standby', fix: 'Set DATABASE_URL to its primary' } }),
    /primary/,
  ],
  [
    'POSTGRES_SETTINGS',
    'wrong',
    'serializable',
    pgSet({ default_transaction_isolation: 'serializable' }),
    /read committed/,
  ],
  ...['fsync', 'full_page_writes', 'synchronous_commit'].map(
    (name): Case => ['POSTGRES_SETTINGS', 'wrong', `${name} is off`, pgSet({ [name]: 'off' }), RegExp(`${name} = on`)],
  ),
  ['POSTGRES_CONNECTIONS', 'wrong', '43 for 1 API × 20 + 2 worker × 9', pgSet({ max_connections: '40' }), / = 83/],
  ['POSTGRES_CONNECTIONS', 'wrong', 'of 40', pg({ limitOfLogin: 40 }), /DATABASE_POOL_SIZE/],
  ['POSTGRES_CONNECTIONS', 'warning', 'others 60', pg({ others: 60 }), /max_connections/],
  ['POSTGRES_CONNECTIONS', 'warning', 'hold 90, others 10, of 97', pg({ ours: 90, others: 10 }), / = 143/],
  [
    'LEDGER_OF_REDIS',
    'wrong',
    'another ledger (ledger-2)',
    redis({ owner: 'ledger-2' }),
    /DATABASE_URL.*KEY_PREFIX.*stop.*delete the key/,
  ],
  [
    'LEDGER_OF_REDIS',
    'wrong',
    'another ledger (ledger-1)',
    pg({ ledgerId: null }),
    /DATABASE_URL.*KEY_PREFIX.*stop.*delete the key/,
  ],
  ['POSTGRES_MIGRATIONS', 'wrong', 'missing: x', pg({ outdated: 'missing: x' }), /npm run migrate/],
];

test.each(cases)('%s is %s: %s', (code, outcome, found, changed, fix) => {
  const findings = bad(changed);
  expect(findings.map((finding) => [finding.code, finding.outcome])).toEqual([[code, outcome]]);
  expect(findings[0]?.found).toContain(found);
  expect(findings[0]?.fix).toMatch(fix);
  expect(findings[0]?.why).toMatch(/^[A-Z].*\.$/);
});

test('a process that starts is checked for what it needs itself', () => {
  const crowds = env({ ADMIN_TOKEN: undefined, TRUST_PROXY: '', GLOBAL_RATE_LIMIT: '0' });
  expect(bad(crowds, 'worker')).toEqual([]);
  expect(bad(crowds, 'api').map(({ code }) => code)).toEqual(['SECRETS', 'HOST', 'RATE_LIMITS']);
  expect(bad(pg({ ours: 87 }), 'worker')).toMatchObject([
    { code: 'POSTGRES_CONNECTIONS', outcome: 'warning', found: expect.stringContaining('9 for this process') },
  ]);
});

test.each<[string, Changed]>([
  ['db.example is another machine', {}],
  ['data_directory cannot be read', pg({ host: '127.0.0.1' })],
  [
    '/elsewhere cannot be read',
    { postgres: { ...postgres, host: '/run', settings: new Map([['data_directory', '/elsewhere']]) } },
  ],
])('a disk of PostgreSQL that was not checked is named: %s', (why, changed) => {
  const disks = checkFacts({ ...good, ...changed }, 'all').filter(({ code }) => code === 'DISK');
  expect(disks.at(-1)).toMatchObject({ outcome: 'ok', found: expect.stringContaining(`was not checked: ${why}`) });
});

test('masters that pass share a line; one that does not has its own, with its address and a command for it', () => {
  const masters = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((host): RedisNode => ({ ...node, host, named: 'cluster' }));
  const all = checkFacts({ ...good, redis: masters }, 'all');
  expect(all.find(({ code }) => code === 'REDIS_ANSWERS')?.found).toBe('cluster, version 7.2.4 (3 masters)');
  const [first, second, third] = masters as [RedisNode, RedisNode, RedisNode];
  const evicting = { ...second, info: infoOf({ ...INFO, maxmemory_policy: 'allkeys-lru' }) };
  expect(bad({ redis: [first, evicting, third] })).toMatchObject([
    {
      code: 'REDIS_MEMORY',
      found: '10.0.0.2:6379: maxmemory-policy allkeys-lru',
      fix: expect.stringContaining('redis-cli -h 10.0.0.2 -p 6379 --askpass CONFIG SET'),
    },
  ]);
});

test('the report has a line for each check, the reason and what to do below it, and a sum', () => {
  const findings = [...bad(pgSet({ server_version: '14\x1b[2J' })), ...bad(config({ appendfsync: 'no' }))];
  expect(printReport(reportOf(findings))).toBe(
    [
      '  WRONG    POSTGRES_ANSWERS      db.example, version 14�[2J',
      '                                 why: PostgreSQL is the ledger: without it no order is confirmed.',
      '                                 fix: Upgrade it to 15 or newer',
      '  WARNING  REDIS_PERSISTENCE     appendfsync no: a power cut loses about 30 s',
      '                                 why: Until the ledger has it, an accepted order is only in Redis.',
      '                                 fix: redis-cli -u "$REDIS_URL" CONFIG SET appendfsync everysec, then CONFIG REWRITE',
      '',
      '2 checks: 1 wrong, 1 warning',
      '',
    ].join('\n'),
  );
  expect(printReport(reportOf([]))).toMatch(/0 checks: all ok\n$/);
  const codeOf = (changed: Changed) => exitCodeOf(reportOf(bad(changed)));
  expect([codeOf({}), codeOf(env({ IP_RATE_LIMIT: '0' })), codeOf({ openFiles: 1 })]).toEqual([0, 2, 1]);
});

test('no secret is in a finding', () => {
  const said = JSON.stringify([
    ...bad(env({ ADMIN_TOKEN: 'passwordpassword1' })),
    ...bad(env({ ...JWT, JWT_SECRET: 'secret'.repeat(6) })),
  ]);
  expect(said).not.toMatch(/passwordpassword1|secretsecret/);
});
