/** Servers that the doctor finds fit, as they are seen: one changed fact is one finding. */
import type { SeenPostgres } from '@flash-sale/ops/doctor/read-postgres.ts';
import type { RedisNode } from '@flash-sale/ops/doctor/read-redis.ts';

export const GIB = 1024 ** 3;

export const node: RedisNode = {
  host: 'redis.example',
  port: 6379,
  named: 'server',
  version: '7.2.4',
  role: 'master',
  replicas: 1,
  replicasToWrite: 0,
  loggedIn: true,
  opensToAnybody: false,
  tls: true,
  policy: 'noeviction',
  appendOnly: true,
  persists: true,
  appendFsync: 'everysec',
  rewriteMinBytes: GIB / 4,
  expiresLazily: true,
  listpackEntries: 64,
  folder: '/data',
  usedBytes: GIB / 10,
  maxBytes: GIB,
  systemBytes: 4 * GIB,
  roundTripsMs: [0.3, 0.2, 0.9],
  slowest: { command: 'EVALSHA', ms: 12 },
  clock: { aheadMs: 3, unsureMs: 1 },
  cluster: null,
};

export const postgres: SeenPostgres = {
  host: 'db.example',
  version: '18.4',
  asksForLogin: true,
  tls: true,
  standby: false,
  readOnly: false,
  isolation: 'read committed',
  synchronousCommit: 'on',
  fsync: true,
  fullPageWrites: true,
  maxConnections: 100,
  reserved: 3,
  boundOfLogin: null,
  ours: 45,
  usedByOthers: 2,
  dataFolder: null,
  clock: { aheadMs: -3, unsureMs: 1 },
};
