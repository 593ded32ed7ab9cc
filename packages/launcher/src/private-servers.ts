/** A private Redis and PostgreSQL with all their data below one folder. */
import { startPrivatePostgres } from './private-postgres.ts';
import { type PrivateRedisOptions, startPrivateRedis } from './private-redis.ts';
import type { PrivateServer } from './private-server.ts';

export interface PrivateServers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly redis: PrivateServer;
  readonly postgres: PrivateServer;
  stop(): Promise<void>;
}

/** Starts both in parallel; if one fails, the other is stopped. */
export async function startPrivateServers({ distFolder, ...options }: PrivateRedisOptions): Promise<PrivateServers> {
  const starting = [
    startPrivateRedis({ ...options, ...(distFolder ? { distFolder } : {}) }),
    startPrivatePostgres(options),
  ] as const;
  try {
    const [redis, postgres] = await Promise.all(starting);
    const stop = async (): Promise<void> => void (await Promise.all([redis.stop(), postgres.stop()]));
    return { redisUrl: redis.url, databaseUrl: postgres.url, redis, postgres, stop };
  } catch (error) {
    await Promise.allSettled(starting.map(async (server) => (await server).stop()));
    throw error;
  }
}
