/** What Redis says of itself: the server, or every master of the cluster. It only reads, and no key. */

import { type RedisAddress, readRedisAddress } from '@flash-sale/core/config/redis-address.ts';
import { type ClockReading, readClock } from '@flash-sale/core/runtime/read-clock.ts';
import { fieldOf, lookAtRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { endpointOf, mastersOf } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Redis } from 'ioredis';

/** Slow commands that Redis keeps by default. */
const SLOW_COMMANDS = 128;

export interface RedisNode {
  readonly host: string;
  readonly port: number;
  /** What REDIS_URL names it as. */
  readonly named: RedisAddress['kind'];
  readonly version: string;
  /** master, or slave. */
  readonly role: string;
  /** That are connected to it. */
  readonly replicas: number;
  /** min-replicas-to-write; null: it does not show its configuration. */
  readonly replicasToWrite: number | null;
  /** Whether our address has a password. */
  readonly loggedIn: boolean;
  /** Whether its default user is let in without a password; null: it does not tell us. */
  readonly opensToAnybody: boolean | null;
  readonly tls: boolean;
  /** maxmemory-policy. */
  readonly policy: string;
  readonly appendOnly: boolean;
  /** false: its last writing to the disk failed, and it refuses writes for that, or will. */
  readonly persists: boolean;
  /** null, as the next four: it does not show its configuration. */
  readonly appendFsync: string | null;
  readonly rewriteMinBytes: number | null;
  /** lazyfree-lazy-expire. */
  readonly expiresLazily: boolean | null;
  /** hash-max-listpack-entries: fields up to which a hash is searched from end to end. */
  readonly listpackEntries: number | null;
  /** Of its data, on its own machine. */
  readonly folder: string | null;
  readonly usedBytes: number;
  /** maxmemory; 0: no bound. */
  readonly maxBytes: number;
  readonly systemBytes: number;
  readonly roundTripsMs: readonly number[];
  /** Of its slow commands within `pastMs`, by its own clock; null: there was none, or it does not tell. */
  readonly slowest: { readonly command: string; readonly ms: number } | null;
  readonly clock: ClockReading;
  /** null: it is no part of a cluster. Slots that are served; masters with slots. */
  readonly cluster: { readonly ok: boolean; readonly slots: number; readonly masters: number } | null;
}

export interface SeenRedis {
  readonly nodes: readonly RedisNode[];
  /** BullMQ's. */
  readonly queuePrefix: string;
}

/**
 * @param options.timeoutMs milliseconds that the connection, and then each answer, may take
 * @param options.pastMs milliseconds for which a slow command of the past counts
 * @throws RedisUnfitError where nobody answers, or the login is refused
 */
export function readRedis(options: {
  url: string;
  queuePrefix: string;
  timeoutMs: number;
  roundTrips: number;
  pastMs: number;
}): Promise<SeenRedis> {
  const { url, queuePrefix, timeoutMs } = options;
  return lookAtRedis(url, timeoutMs, async (redis) => {
    const named = readRedisAddress(url)?.kind ?? 'server';
    const nodes = await Promise.all(mastersOf(redis).map((node) => readNode(node, named, options)));
    return { nodes, queuePrefix };
  });
}

async function readNode(
  node: Redis,
  named: RedisNode['named'],
  { roundTrips, pastMs }: { roundTrips: number; pastMs: number },
): Promise<RedisNode> {
  const [info, config, opensToAnybody] = await Promise.all([node.info(), readConfig(node), readDefaultUser(node)]);
  const field = (name: string): string => fieldOf(info, name);
  const { tls, password } = node.options;
  return {
    ...endpointOf(node),
    named,
    version: field('redis_version'),
    role: field('role'),
    replicas: Number(field('connected_slaves')),
    replicasToWrite: config?.has('min-replicas-to-write') ? Number(config.get('min-replicas-to-write')) : null,
    loggedIn: Boolean(password),
    opensToAnybody,
    tls: tls !== undefined,
    policy: field('maxmemory_policy'),
    appendOnly: field('aof_enabled') === '1',
    persists: field('aof_last_write_status') !== 'err' && field('rdb_last_bgsave_status') !== 'err',
    appendFsync: config?.get('appendfsync') ?? null,
    rewriteMinBytes: config?.has('auto-aof-rewrite-min-size') ? Number(config.get('auto-aof-rewrite-min-size')) : null,
    expiresLazily: config?.has('lazyfree-lazy-expire') ? config.get('lazyfree-lazy-expire') === 'yes' : null,
    listpackEntries: config?.has('hash-max-listpack-entries') ? Number(config.get('hash-max-listpack-entries')) : null,
    folder: config?.get('dir') ?? null,
    usedBytes: Number(field('used_memory')),
    maxBytes: Number(field('maxmemory')),
    systemBytes: Number(field('total_system_memory')),
    // One after the other, and nothing else beside them.
    roundTripsMs: await measureRoundTrips(node, roundTrips),
    slowest: await readSlowest(node, pastMs),
    clock: await readClock(async () => {
      const [seconds, micros] = await node.time();
      return Number(seconds) * 1_000 + Number(micros) / 1_000;
    }),
    cluster: field('cluster_enabled') === '1' ? await readCluster(node) : null,
  };
}

/** null: this server, or our login, does not show it. */
async function readConfig(node: Redis): Promise<Map<string, string> | null> {
  try {
    const told = await node.config(
      'GET',
      'appendfsync',
      'auto-aof-rewrite-min-size',
      'lazyfree-lazy-expire',
      'hash-max-listpack-entries',
      'dir',
      'min-replicas-to-write',
    );
    const flat = pairsOf(told);
    return flat.size > 0 ? flat : null;
  } catch {
    return null;
  }
}

async function readDefaultUser(node: Redis): Promise<boolean | null> {
  try {
    const flags = pairsOf(await node.acl('GETUSER', 'default')).get('flags');
    const all = Array.isArray(flags) ? flags : String(flags).split(' ');
    return all.includes('on') && all.includes('nopass');
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

/** Only the command's name: what follows it may be anybody's. */
async function readSlowest(node: Redis, pastMs: number): Promise<RedisNode['slowest']> {
  try {
    const [now] = await node.time();
    const told = (await node.slowlog('GET', SLOW_COMMANDS)) as [number, number, number, string[]][];
    const recent = told.filter(([, at]) => (Number(now) - at) * 1_000 < pastMs);
    const [first] = recent.toSorted((a, b) => b[2] - a[2]);
    return first ? { command: String(first[3][0]).toUpperCase(), ms: first[2] / 1_000 } : null;
  } catch {
    return null;
  }
}

async function readCluster(node: Redis): Promise<RedisNode['cluster']> {
  const state = String(await node.cluster('INFO'));
  return {
    ok: fieldOf(state, 'cluster_state') === 'ok',
    slots: Number(fieldOf(state, 'cluster_slots_ok')),
    masters: Number(fieldOf(state, 'cluster_size')),
  };
}

/** Names and values as Redis lists them: one after the other, or as a map. */
// biome-ignore lint/suspicious/noExplicitAny: a list by RESP2, a map by RESP3, each with values of many kinds; whoever reads names the fields and their form
function pairsOf(told: any): Map<string, any> {
  if (!Array.isArray(told)) return new Map(told instanceof Map ? told : Object.entries(told));
  return new Map(told.flatMap((name, at) => (at % 2 === 0 ? [[name, told[at + 1]]] : [])));
}
