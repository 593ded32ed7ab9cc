/** A system in which the doctor finds nothing, and how to change one fact of it. */
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { checkFacts, type Facts } from '@flash-sale/ops/doctor/examine.ts';
import type { SeenPostgres } from '@flash-sale/ops/doctor/postgres.ts';
import type { RedisNode } from '@flash-sale/ops/doctor/redis.ts';
import type { Finding } from '@flash-sale/ops/doctor/report.ts';

export const MIB = 1024 ** 2;
export const GIB = 1024 * MIB;

const GOOD = {
  API_PROCESSES: '1',
  NODE_ENV: 'production',
  AUTH: 'header',
  HOST: '0.0.0.0',
  TRUST_PROXY: '10.0.0.0/8',
  IP_RATE_LIMIT: '200',
  SHUTDOWN_DRAIN_MS: '3000',
  ADMIN_TOKEN: 'mFq8-2xVt0Rz7_kLw9Ua',
  DATABASE_POOL_SIZE: '20',
  WORKER_PROCESSES: '2',
};
export const JWT = {
  AUTH: 'jwt',
  JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E',
  JWT_ISSUER: 'https://id.example',
  JWT_AUDIENCE: 'flash-sale',
};
export const INFO = {
  redis_version: '7.2.4',
  role: 'master',
  connected_slaves: 1,
  maxmemory_policy: 'noeviction',
  aof_enabled: 1,
  aof_last_write_status: 'ok',
  used_memory: GIB / 10,
  maxmemory: GIB,
  total_system_memory: 4 * GIB,
};
export const CONFIG = {
  appendfsync: 'everysec',
  dir: '/data',
  'min-replicas-to-write': '0',
  'hash-max-listpack-entries': '64',
  'lazyfree-lazy-expire': 'yes',
  'auto-aof-rewrite-min-size': String(256 * MIB),
};
export const infoOf = (fields: object): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('');

export const node: RedisNode = {
  host: 'redis.example',
  port: 6379,
  owner: 'ledger-1',
  named: 'server',
  weakness: null,
  info: infoOf(INFO),
  config: new Map(Object.entries(CONFIG)),
  isOpen: false,
  tls: true,
  roundTripsMs: [0.3, 0.2, 0.9],
  slowest: { command: 'EVALSHA', ms: 12 },
  clock: { aheadMs: 3, unsureMs: 1 },
  cluster: null,
};

const PG_SETTINGS = {
  server_version: '18.4',
  default_transaction_isolation: 'read committed',
  synchronous_commit: 'on',
  fsync: 'on',
  full_page_writes: 'on',
  max_connections: '100',
  superuser_reserved_connections: '3',
};
export const postgres: SeenPostgres = {
  host: 'db.example',
  ledgerId: 'ledger-1',
  weakness: null,
  settings: new Map(Object.entries(PG_SETTINGS)),
  isOpen: false,
  tls: 'verified',
  writeFault: null,
  limitOfLogin: null,
  ours: 45,
  others: 2,
  clock: { aheadMs: -3, unsureMs: 1 },
  outdated: null,
};

export const good: Facts = {
  settings: readEnvironment(GOOD),
  redis: [node],
  postgres,
  openFiles: 65_536,
  disks: [{ folders: ['/var/lib/shop'], freeBytes: 100 * GIB }],
};

export type Changed = Partial<Facts>;
export const bad = (changed: Changed, service: Parameters<typeof checkFacts>[1] = 'all'): Finding[] =>
  checkFacts({ ...good, ...changed }, service).filter(({ outcome }) => outcome !== 'ok');

export const env = (changed: Record<string, string | undefined>): Changed => ({
  settings: readEnvironment({ ...GOOD, ...changed }),
});
export const redis = (changed: Partial<RedisNode>): Changed => ({ redis: [{ ...node, ...changed }] });
export const info = (changed: object, more: Partial<RedisNode> = {}): Changed =>
  redis({ info: infoOf({ ...INFO, ...changed }), ...more });
export const config = (changed: object, more: Partial<RedisNode> = {}): Changed =>
  redis({ config: new Map(Object.entries({ ...CONFIG, ...changed })), ...more });
export const hidden = (...names: string[]): Changed =>
  redis({ config: new Map(Object.entries(CONFIG).filter(([name]) => !names.includes(name))) });
export const cluster = (changed: object, named: RedisNode['named']): Changed =>
  redis({ cluster: infoOf({ cluster_state: 'ok', cluster_slots_ok: 16_384, cluster_size: 3, ...changed }), named });
export const pg = (changed: Partial<SeenPostgres>): Changed => ({ postgres: { ...postgres, ...changed } });
export const pgSet = (changed: object): Changed =>
  pg({ settings: new Map(Object.entries({ ...PG_SETTINGS, ...changed })) });
export const metricsOn = (host: string): Changed => env({ METRICS_PORT: '9100', METRICS_HOST: host });
