/** A Redis and a PostgreSQL of one's own, with everything they keep below one folder. */
import { startPrivatePostgres } from './private-postgres.ts';
import { startPrivateRedis } from './private-redis.ts';
import { ownFolder, type PrivateServer, type PrivateServerOptions } from './private-server.ts';

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
