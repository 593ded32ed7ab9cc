/** Connections to Redis, each with the manners that its use needs. */
import { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { WORK_SOCKET_TIMEOUT_MS } from '../limits.ts';

export interface RedisConnection {
  readonly redis: Redis;
  close(): Promise<void>;
}

interface ConnectOptions {
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
  const redis = new Redis(options.url, {
    connectionName: options.name,
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: options.timeoutMs,
    connectTimeout: options.timeoutMs,
    // A connection that was cut without a word is made anew, not only its commands refused.
    socketTimeout: options.timeoutMs,
    retryStrategy: backoff,
  });
  return managed(redis, options);
}

/** For workers and loops: a command waits until Redis is back. BullMQ's blocking calls need it so. */
export function connectForWork(options: ConnectOptions): RedisConnection {
  const redis = new Redis(options.url, {
    connectionName: options.name,
    lazyConnect: true,
    maxRetriesPerRequest: null,
    socketTimeout: WORK_SOCKET_TIMEOUT_MS,
    retryStrategy: backoff,
  });
  return managed(redis, options);
}

/** Milliseconds until the next try: quick at first, then twice a second for as long as it takes. */
function backoff(times: number): number {
  return Math.min(50 * times, 500);
}

function managed(redis: Redis, { name, log }: ConnectOptions): RedisConnection {
  // One line as Redis goes and one as it comes back, not one for every try.
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) log.error({ connection: name, err: error.message }, 'redis does not answer');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info({ connection: name }, 'redis is back');
    away = false;
  });
  return {
    redis,
    async close() {
      if (redis.status === 'ready') await redis.quit().catch(() => redis.disconnect());
      else redis.disconnect();
    },
  };
}
