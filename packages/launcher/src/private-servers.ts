/** A Redis and a PostgreSQL of one's own, with everything they keep below one folder. */
import { mkdirSync, realpathSync } from 'node:fs';
import { startPrivatePostgres } from './private-postgres.ts';
import { startPrivateRedis } from './private-redis.ts';

export interface PrivateServerOptions {
  /** Holds data, secrets and logs. Made where it does not exist. */
  readonly folder: string;
  readonly say?: (line: string) => void;
  /** false: stays dead when it dies (a test that kills it on purpose). */
  readonly restart?: boolean;
  /** Told of each start, with the pid to remember. */
  readonly onStarted?: (pid: number) => void;
  /** Milliseconds a server that did not become ready has to stop. */
  readonly stopTimeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PrivateServer {
  /** Address with the password. */
  readonly url: string;
  readonly port: number;
  /** For people: "redis 7.0.15". */
  readonly what: string;
  /** Undefined while it is down. */
  readonly pid: number | undefined;
  /** Resolves when it cannot be started again; never rejects. */
  readonly gaveUp: Promise<Error>;
  stop(timeoutMs?: number): Promise<void>;
  /** SIGKILL, without waiting. */
  kill(): void;
}

export interface PrivateServers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly redis: PrivateServer;
  readonly postgres: PrivateServer;
  stop(): Promise<void>;
}

export interface PrivateServersOptions extends PrivateServerOptions {
  /** See startPrivateRedis. */
  readonly distFolder?: string;
  /** See startPrivatePostgres. */
  readonly durable?: boolean;
}

/** Starts both side by side; when one cannot be started the other is stopped again. */
export async function startPrivateServers(options: PrivateServersOptions): Promise<PrivateServers> {
  const folder = ownFolder(options.folder);
  const [redis, postgres] = await Promise.allSettled([
    startPrivateRedis({ ...options, folder }),
    startPrivatePostgres({ ...options, folder }),
  ]);
  if (redis.status === 'fulfilled' && postgres.status === 'fulfilled') {
    return {
      redisUrl: redis.value.url,
      databaseUrl: postgres.value.url,
      redis: redis.value,
      postgres: postgres.value,
      stop: async () => {
        await Promise.all([redis.value.stop(), postgres.value.stop()]);
      },
    };
  }
  if (redis.status === 'fulfilled') await redis.value.stop();
  if (postgres.status === 'fulfilled') await postgres.value.stop();
  throw redis.status === 'rejected' ? redis.reason : (postgres as PromiseRejectedResult).reason;
}

/** The folder by its one true name: command lines are searched for it later. */
export function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return realpathSync(folder);
}
