/** Connections to Redis, each with the manners that its use needs. */
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import { WORK_SOCKET_TIMEOUT_MS } from '../../config/limits.ts';
import { SENTINEL_HEARD, SENTINEL_UNHEARD } from './master-connector.ts';
import { type AnyRedis, connectRedis, mastersOf, openRedis } from './open-redis.ts';

export interface RedisConnection {
  readonly redis: AnyRedis;
  /** @throws when Redis cannot be reached; it is tried again all the same, until close() */
  connect(): Promise<void>;
  /** @throws where the server, or one master of the cluster, does not answer */
  ping(): Promise<void>;
  close(): Promise<void>;
}

interface ConnectOptions {
  /** REDIS_URL: of a server or of a cluster. */
  readonly url: string;
  /** Shown in CLIENT LIST. */
  readonly name: string;
  readonly log: Logger;
}

/**
 * For whoever answers a request: a command fails at once while Redis is away, after `timeoutMs` when Redis is silent, and is
 * never sent a second time behind the caller's back.
 */
export function connectForRequests(options: ConnectOptions & { timeoutMs: number }): RedisConnection {
  const redis = openRedis(options.url, {
    connectionName: options.name,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: options.timeoutMs,
    connectTimeout: options.timeoutMs,
    // A connection that was cut without a word is rebuilt, not only its commands refused.
    socketTimeout: options.timeoutMs,
    retryStrategy: backoff,
  });
  return managed(redis, options);
}

/**
 * For workers and loops: a command waits until Redis is back. BullMQ's blocking calls need it so. Of a cluster it does not wait for its node but
 * for whoever has its slot: it would stand in the queue of a master that is dead, and never hear that a replica took over.
 */
export function connectForWork({ url, name, log }: ConnectOptions): RedisConnection {
  const redis = openRedis(url, {
    connectionName: name,
    maxRetriesPerRequest: null,
    socketTimeout: WORK_SOCKET_TIMEOUT_MS,
    retryStrategy: backoff,
    nodesComeBack: false,
  });
  return managed(redis, { url, name, log });
}

/** For whoever listens, and does nothing else over it. Of a cluster one node is listened to, and another one where that goes. */
export function connectForSubscription(options: ConnectOptions): RedisConnection {
  return connectForWork(options);
}

/** Milliseconds until the next try: quick at first, then twice a second for as long as it takes. */
function backoff(times: number): number {
  return Math.min(50 * times, 500);
}

function managed(redis: AnyRedis, { name, log }: ConnectOptions): RedisConnection {
  const watch = createWatch(name, log);
  watch(redis);
  redis.on(SENTINEL_UNHEARD, ({ message }: Error) =>
    log.warn(
      { connection: name, err: message },
      'a sentinel cannot be listened to: a failover is heard from the others only',
    ),
  );
  redis.on(SENTINEL_HEARD, ({ message: sentinel }: Error) =>
    log.info({ connection: name, sentinel }, 'a sentinel is listened to again'),
  );
  if (redis instanceof Cluster) {
    // Not at its first command: without an offline queue those that come meanwhile would be refused. And not before the cluster is ready:
    // among them is its own question whether it is.
    redis.on('ready', () => redis.nodes('master').forEach(connectNow));
    redis.on('+node', (node: Redis) => {
      watch(node, `${node.options.host}:${node.options.port}`);
      // A replica may have its slots by now. Nobody else would say so: what is sent to a node that went fails, and is not moved on.
      node.on('close', () => redis.status === 'ready' && redis.refreshSlotsCache());
      if (redis.status === 'ready') connectNow(node);
    });
  }
  return {
    redis,
    connect: () => connectRedis(redis),
    async ping() {
      await Promise.all(mastersOf(redis).map((node) => node.ping()));
    },
    async close() {
      if (redis.status === 'ready') await redis.quit().catch(() => redis.disconnect());
      else redis.disconnect();
    },
  };
}

function connectNow(node: Redis): void {
  if (node.status === 'wait') void node.connect().catch(() => {});
}

/** One line as Redis, or a node of it, goes and one as it comes back, not one for every try, nor for every connection to a node that is tried. */
function createWatch(connection: string, log: Logger): (redis: AnyRedis, node?: string) => void {
  const away = new Set<string | undefined>();
  return (redis, node) => {
    const place = node === undefined ? { connection } : { connection, node };
    redis.on('error', (error: Error) => {
      if (!away.has(node)) log.error({ ...place, err: error.message }, 'redis does not answer');
      away.add(node);
    });
    redis.on('ready', () => {
      if (away.delete(node)) log.info(place, 'redis is back');
    });
  };
}
