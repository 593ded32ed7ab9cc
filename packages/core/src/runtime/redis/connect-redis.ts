/** Connections to Redis, with the options that each use needs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { CONSTANTS } from '../../config/settings.ts';
import { SENTINEL_SUBSCRIBED, SENTINEL_UNSUBSCRIBED } from './master-connector.ts';
import { type AnyRedis, connectRedis, mastersOf, openRedis } from './open-redis.ts';

export type RedisConnection = ReturnType<typeof managed>;

/** Milliseconds that a server may take to answer QUIT. */
const QUIT_MS = 1_000;

interface ConnectOptions {
  /** REDIS_URL. */
  readonly url: string;
  /** Shown in CLIENT LIST. */
  readonly name: string;
  readonly log: Logger;
}

/**
 * For requests: a command fails at once while Redis is unavailable, fails after `timeoutMs` if
 * Redis does not answer, and is never sent again automatically.
 */
export function connectForRequests(options: ConnectOptions & { timeoutMs: number }): RedisConnection {
  const redis = openRedis(options.url, {
    connectionName: options.name,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: options.timeoutMs,
    connectTimeout: options.timeoutMs,
    // Reconnects if the other side vanished without closing the connection.
    socketTimeout: options.timeoutMs,
    retryStrategy: backoff,
  });
  return managed(redis, options);
}

/**
 * For workers and loops: a command waits until Redis is back, as BullMQ's blocking calls require.
 * In a cluster a command waits for the current owner of its slot, not for one node: queued for a
 * dead master, it would not follow a failover.
 */
export function connectForWork({
  url,
  name,
  log,
  silentMs = CONSTANTS.WORKER_SILENT_MS,
  autoResubscribe = true,
}: ConnectOptions & { silentMs?: number | undefined; autoResubscribe?: boolean }): RedisConnection {
  const redis = openRedis(url, {
    connectionName: name,
    maxRetriesPerRequest: null,
    socketTimeout: silentMs,
    retryStrategy: backoff,
    reconnectNodes: false,
    autoResubscribe,
  });
  return managed(redis, { url, name, log });
}

/**
 * For pub/sub only. In a cluster it subscribes on one node, and on another one if that node fails.
 */
export function connectForSubscription(options: ConnectOptions): RedisConnection {
  // The caller does it: ioredis leaves a refusal unhandled, which would end the process.
  return connectForWork({ ...options, autoResubscribe: false });
}

/** Milliseconds until the next attempt: soon at first, then twice a second. */
function backoff(times: number): number {
  return Math.min(50 * times, 500);
}

function managed(redis: AnyRedis, { name, log }: ConnectOptions) {
  const watch = createWatch(name, log);
  watch(redis);
  redis.on(SENTINEL_UNSUBSCRIBED, ({ message }: Error) =>
    log.warn(
      { connection: name, err: message },
      'cannot subscribe to a sentinel; failovers are reported by the others only',
    ),
  );
  redis.on(SENTINEL_SUBSCRIBED, ({ message: sentinel }: Error) =>
    log.info({ connection: name, sentinel }, 'subscribed to the sentinel again'),
  );
  if (redis instanceof Cluster) {
    // Connect to masters before their first commands, which would fail without an offline queue,
    // but not before the cluster is ready, because ioredis asks a node for that.
    redis.on('ready', () => redis.nodes('master').forEach(connectNow));
    redis.on('+node', (node: Redis) => {
      watch(node, `${node.options.host}:${node.options.port}`);
      // A replica may own its slots by now. Commands to a lost node fail without a redirect, so
      // refresh the slots.
      node.on('close', () => redis.status === 'ready' && redis.refreshSlotsCache());
      if (redis.status === 'ready') connectNow(node);
    });
  }
  return {
    redis,
    name,
    /** @throws if Redis is unreachable; the connection still retries until close() */
    connect: (): Promise<void> => connectRedis(redis),
    /**
     * Writes nothing: Redis checks a script with flags before it runs it.
     *
     * @throws if the server, or a master of the cluster, does not answer, or would refuse an order
     * because it is full, read-only, or lacks replicas or its disk
     */
    async tryWrite(): Promise<void> {
      await Promise.all(mastersOf(redis).map((node) => node.eval('#!lua\nreturn 1', 0)));
    },
    async close(): Promise<void> {
      // A silent server must not delay a stop.
      const bound = sleep(QUIT_MS, undefined, { ref: false });
      if (redis.status === 'ready') await Promise.race([redis.quit().catch(() => {}), bound]);
      redis.disconnect();
    },
  };
}

function connectNow(node: Redis): void {
  if (node.status === 'wait') void node.connect().catch(() => {});
}

/**
 * Logs once when Redis or a node becomes unavailable and once when it is back, not at every
 * attempt.
 */
function createWatch(connection: string, log: Logger): (redis: AnyRedis, node?: string) => void {
  const unavailable = new Set<string | undefined>();
  return (redis, node) => {
    const place = node === undefined ? { connection } : { connection, node };
    redis.on('error', (error: Error) => {
      if (!unavailable.has(node)) log.error({ ...place, err: error.message }, 'redis does not answer');
      unavailable.add(node);
    });
    redis.on('ready', () => {
      if (unavailable.delete(node)) log.info(place, 'redis is back');
    });
  };
}
