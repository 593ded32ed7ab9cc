/** Redis: reads the server, or every master of a cluster, and checks it. It reads one key. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { REDIS_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { readRedisAddress } from '@flash-sale/core/config/redis-address.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { fieldOf, readFromRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { endpointOf, mastersOf } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Redis } from 'ioredis';
import { readClock } from './read-clock.ts';
import { bytes, type Check, type CheckResult, type Finding, milliseconds, ok, warning, wrong } from './report.ts';
import { weaknessOfAddress } from './secrets.ts';

/** An order makes two or three round trips in a row. On one network each takes below 1 ms. */
const ROUND_TRIP_MEDIAN_MS = 5;
const ROUND_TRIP_WORST_MS = 250;
/** Redis runs one command at a time, so every order waits for a slow one. Ours take 1 or 2 ms. */
const COMMAND_MS = 100;
/** Only slow commands within this time count. */
const PAST_MS = 3_600_000;
/** Memory of an order that waits for the ledger: its reservation and its part of a job. */
const ORDER_BYTES = 500;
/** Share of its memory that Redis should have free before a sale. */
const MEMORY_FREE_SHARE = 0.2;
/** Hash slots of every cluster. */
const SLOTS = 16_384;

export type RedisNode = Awaited<ReturnType<typeof readRedis>>[number];

/**
 * @param prefix KEY_PREFIX
 * @param timeoutMs milliseconds for the connection, and then for each answer
 * @throws UnfitServerError if it does not answer, or refuses the login
 */
export function readRedis(url: string, prefix: string, timeoutMs: number, roundTrips: number) {
  const read = async (node: Redis, owner: string | null) => {
    const info = await node.info();
    return {
      ...endpointOf(node),
      /** Id of the ledger that the keys belong to; null: of none yet. */
      owner,
      /** As REDIS_URL names it. */
      named: readRedisAddress(url)?.kind ?? ('server' as const),
      /** Why one of our passwords is weak; null: none is. */
      weakness: weaknessOfAddress(url),
      info,
      /** What our user may see of it. */
      config: await readConfig(node),
      /** Whether the default user needs no password; null: our user may not ask. */
      isOpen: await readDefaultUser(node),
      tls: node.options.tls !== undefined,
      // One at a time, while nothing else is read.
      roundTripsMs: await measureRoundTrips(node, roundTrips),
      /** The slowest recent command; null: there was none, or our user may not ask. */
      slowest: await readSlowest(node),
      clock: await readClock(async () => {
        const [seconds, micros] = await node.time();
        return Number(seconds) * 1_000 + Number(micros) / 1_000;
      }),
      /** CLUSTER INFO; null: not a cluster. */
      cluster: fieldOf(info, 'cluster_enabled') === '1' ? String(await node.cluster('INFO')) : null,
    };
  };
  return readFromRedis(url, timeoutMs, async (redis) => {
    const owner = await redis.get(createKeys(prefix).ledger);
    return Promise.all(mastersOf(redis).map((node) => read(node, owner)));
  });
}

/** Settings that make orders faster, with the smallest or only value that is fine. */
const TUNING = [
  // A hash is searched field by field up to this size: twice what our own Redis is set to.
  { name: 'hash-max-listpack-entries', value: '64', isFine: (value: string) => Number(value) <= 128 },
  // Without it Redis stands still for 18 ms while 100,000 expired buckets are freed.
  { name: 'lazyfree-lazy-expire', value: 'yes', isFine: (value: string) => value === 'yes' },
  // The append-only file of a million orders.
  { name: 'auto-aof-rewrite-min-size', value: '256mb', isFine: (value: string) => Number(value) >= 256 * 1024 ** 2 },
];

async function readConfig(node: Redis): Promise<Map<string, string>> {
  const names = ['appendfsync', 'dir', 'min-replicas-to-write', ...TUNING.map(({ name }) => name)];
  return node.config('GET', ...names).then(pairsOf, () => new Map());
}

async function readDefaultUser(node: Redis): Promise<boolean | null> {
  try {
    const flags = String(pairsOf(await node.acl('GETUSER', 'default')).get('flags')).split(/[ ,]/);
    return flags.includes('on') && flags.includes('nopass');
  } catch {
    return null;
  }
}

async function measureRoundTrips(node: Redis, count: number): Promise<number[]> {
  const all: number[] = [];
  while (all.length < count) {
    const started = performance.now();
    await node.ping();
    all.push(performance.now() - started);
  }
  return all;
}

/** Only the name of the command: its arguments are buyers' data. */
async function readSlowest(node: Redis): Promise<{ command: string; ms: number } | null> {
  try {
    const [now] = await node.time();
    const log = (await node.slowlog('GET', 128)) as [number, number, number, string[]][];
    const recent = log.filter(([, at]) => (Number(now) - at) * 1_000 < PAST_MS);
    const [slowest] = recent.toSorted((a, b) => b[2] - a[2]);
    return slowest ? { command: String(slowest[3][0]).toUpperCase(), ms: slowest[2] / 1_000 } : null;
  } catch {
    return null;
  }
}

/** Names and values: a flat list by RESP2, a map by RESP3. */
// biome-ignore lint/suspicious/noExplicitAny: values of many kinds; callers name their form
function pairsOf(reply: any): Map<string, any> {
  if (!Array.isArray(reply)) return new Map(reply instanceof Map ? reply : Object.entries(reply));
  return new Map(reply.flatMap((name, at) => (at % 2 === 0 ? [[name, reply[at + 1]]] : [])));
}

/** Of every master. */
export const REDIS_CHECKS: readonly Check<RedisNode>[] = [
  ['REDIS_ANSWERS', 'Redis is the inventory: without it nothing is sold.', checkServer],
  ['REDIS_LOGIN', 'Anyone who can write to Redis can have orders confirmed.', checkLogin],
  [
    'REDIS_TLS',
    'Without TLS, anyone on the network can read the password, the buyers and the orders.',
    ({ tls, host }) => {
      if (tls) return ok('TLS');
      if (isLoopback(host)) return ok('none: this machine only');
      return warning(`none, and ${host} is another machine`, 'Set tls-port in redis.conf, and rediss:// in REDIS_URL');
    },
  ],
  ['REDIS_WRITABLE', 'Without writes to Redis, no order is accepted.', checkWritable],
  [
    'REDIS_REPLICAS',
    'Data that only a failed master had is lost; without a replica, nothing takes over.',
    checkReplicas,
  ],
  ['REDIS_MEMORY', 'A full Redis refuses orders; a Redis that evicts keys loses accepted orders.', checkMemory],
  ['REDIS_PERSISTENCE', 'Until the ledger has it, an accepted order is only in Redis.', checkPersistence],
  [
    'REDIS_TUNING',
    'With the default settings of Redis, orders are slower, most of all at the start of a sale.',
    checkTuning,
  ],
  ['REDIS_LATENCY', 'Every order waits for Redis.', checkLatency],
];

/** A line for a check that all masters pass, else a line for each that does not. */
export function mergeMasters(masters: readonly { node: RedisNode; findings: readonly Finding[] }[]): Finding[] {
  return REDIS_CHECKS.flatMap((_, i) => {
    const all = masters.map(({ node, findings }) => ({ node, ...(findings[i] as Finding) }));
    const [{ node: _node, ...first }] = all as [(typeof all)[number]];
    if (all.length === 1) return [first];
    const bad = all.filter(({ outcome }) => outcome !== 'ok');
    if (bad.length === 0) return [{ ...first, found: `${first.found} (${all.length} masters)` }];
    return bad.map(({ node, ...one }) => ({ ...one, found: `${placeOf(node)}: ${one.found}` }));
  });
}

const placeOf = ({ host, port }: RedisNode): string => `${host}:${port}`;

/** The command to type. redis-cli reads the address of a server, not of a cluster or sentinels. */
function cli({ named, host, port }: RedisNode, command: string): string {
  return named === 'server'
    ? `redis-cli -u "$REDIS_URL" ${command}`
    : `redis-cli -h ${host} -p ${port} --askpass ${command}`;
}

const setConfig = (node: RedisNode, what: string): string => `${cli(node, `CONFIG SET ${what}`)}, then CONFIG REWRITE`;

function checkServer(node: RedisNode): CheckResult {
  const version = fieldOf(node.info, 'redis_version');
  if (Number.parseInt(version, 10) < REDIS_MAJOR_MIN) {
    return wrong(`version ${version}`, `Upgrade it to ${REDIS_MAJOR_MIN} or newer`);
  }
  const masters = Number(fieldOf(node.cluster ?? '', 'cluster_size'));
  if (node.named === 'server' && masters > 1) {
    return wrong(`a cluster of ${masters} masters, and REDIS_URL names one server`, 'REDIS_URL=redis+cluster://…');
  }
  const slots = Number(fieldOf(node.cluster ?? '', 'cluster_slots_ok'));
  if (node.cluster !== null && (fieldOf(node.cluster, 'cluster_state') !== 'ok' || slots < SLOTS)) {
    return wrong(`${slots} of ${SLOTS} slots are served`, cli(node, 'CLUSTER INFO'));
  }
  return ok(`${node.named === 'server' ? placeOf(node) : node.named}, version ${version}`);
}

function checkLogin(node: RedisNode): CheckResult {
  const fix = `${setConfig(node, 'requirepass …')}; the same in REDIS_URL`;
  if (node.weakness !== null) return warning(`the password is ${node.weakness}`, fix);
  if (!node.isOpen) return ok('a password is required');
  const found = 'no password is required';
  return isLoopback(node.host) ? warning(`${found} on this machine`, fix) : wrong(found, fix);
}

function checkWritable(node: RedisNode): CheckResult {
  const role = fieldOf(node.info, 'role');
  if (role !== 'master') return wrong(`it is a ${role}`, 'Set REDIS_URL to the address of its master');
  const failed = ['aof_last_write_status', 'rdb_last_bgsave_status'].filter(
    (name) => fieldOf(node.info, name) === 'err',
  );
  if (failed.length === 0) return ok('yes');
  const fix = `Check its log and its disk; ${cli(node, 'INFO persistence')}`;
  return wrong(`its last write to disk failed (${failed.join(', ')})`, fix);
}

/** docs/decisions.md says why sentinels and a cluster need opposite settings. */
function checkReplicas(node: RedisNode): CheckResult {
  if (node.named === 'server') return ok('one server: nothing takes over from it');
  const replicas = Number(fieldOf(node.info, 'connected_slaves'));
  if (replicas === 0) return warning('no replica: nothing takes over', cli(node, 'INFO replication'));
  const needed = Number(node.config.get('min-replicas-to-write') ?? Number.NaN);
  const found = `${replicas} connected, min-replicas-to-write ${Number.isNaN(needed) ? 'hidden' : needed}`;
  if (node.named === 'sentinel' && needed === 0) {
    const fix = setConfig(node, 'min-replicas-to-write 1 min-replicas-max-lag 2');
    return warning(`${found}: a master that is cut off accepts orders that are lost`, fix);
  }
  if (needed >= replicas) {
    const fix = `One more replica; or ${setConfig(node, `min-replicas-to-write ${replicas - 1}`)}`;
    return warning(`${found}: a replica that takes over has one fewer, and refuses orders`, fix);
  }
  return ok(found);
}

function checkMemory(node: RedisNode, { BACKLOG_LIMIT }: Environment): CheckResult {
  const number = (name: string): number => Number(fieldOf(node.info, name));
  const policy = fieldOf(node.info, 'maxmemory_policy');
  if (policy !== 'noeviction')
    return wrong(`maxmemory-policy ${policy}`, setConfig(node, 'maxmemory-policy noeviction'));
  const [used, most] = [number('used_memory'), number('maxmemory')];
  const megabytes = (size: number): string => `${Math.ceil(size / 1024 ** 2)}mb`;
  if (most === 0) {
    const half = megabytes(Math.max(number('total_system_memory') / 2, 100 * 1024 ** 2));
    return warning(`${bytes(used)} used, and maxmemory is not set`, setConfig(node, `maxmemory ${half}`));
  }
  const free = Math.max(most - used, 0);
  const found = `${bytes(free)} of ${bytes(most)} free`;
  const more = setConfig(node, `maxmemory ${megabytes(most * 2)}`);
  if (free === 0) return wrong(`${found}: it refuses orders`, more);
  const backlog = BACKLOG_LIMIT * ORDER_BYTES;
  if (free < backlog) {
    const need = `BACKLOG_LIMIT=${BACKLOG_LIMIT} orders of one sale need ${bytes(backlog)}`;
    return warning(`${found}; ${need}`, `${more}; or a lower BACKLOG_LIMIT`);
  }
  return free < most * MEMORY_FREE_SHARE ? warning(found, more) : ok(found);
}

function checkPersistence(node: RedisNode): CheckResult {
  if (fieldOf(node.info, 'aof_enabled') !== '1') {
    const found = 'no append-only file: orders since the last snapshot can be lost';
    return warning(found, setConfig(node, 'appendonly yes'));
  }
  const fsync = node.config.get('appendfsync');
  if (fsync === undefined) return warning('appendfsync is hidden from our user', hidden('appendfsync everysec'));
  if (fsync === 'no')
    return warning('appendfsync no: a power cut loses about 30 s', setConfig(node, 'appendfsync everysec'));
  return ok(`append-only file, appendfsync ${fsync}`);
}

const hidden = (what: string): string =>
  `${what} in redis.conf or at your provider; or let our user read it: ACL SETUSER … +config|get`;

function checkTuning(node: RedisNode): CheckResult {
  const off = TUNING.filter(({ name, isFine }) => !isFine(node.config.get(name) ?? ''));
  const wanted = off.map(({ name, value }) => `${name} ${value}`).join(' ');
  if (off.length === 0) return ok('as of `npm start`');
  if (off.every(({ name }) => !node.config.has(name))) return warning('hidden from our user', hidden(wanted));
  return warning(off.map(({ name }) => `${name} ${node.config.get(name)}`).join(', '), setConfig(node, wanted));
}

function checkLatency(node: RedisNode): CheckResult {
  const sorted = node.roundTripsMs.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const worst = sorted.at(-1) ?? 0;
  const isSlow = (node.slowest?.ms ?? 0) > COMMAND_MS;
  const past = isSlow
    ? `; within the last hour ${node.slowest?.command} took ${milliseconds(node.slowest?.ms ?? 0)}`
    : '';
  const found = `median ${milliseconds(median)}, worst ${milliseconds(worst)} of ${sorted.length} round trips${past}`;
  const fix = `${cli(node, '--latency')}, SLOWLOG GET 10, LATENCY DOCTOR; run it in the network of the API`;
  return isSlow || median > ROUND_TRIP_MEDIAN_MS || worst > ROUND_TRIP_WORST_MS ? warning(found, fix) : ok(found);
}
