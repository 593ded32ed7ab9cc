/** The servers of a bench: PostgreSQL, and one Redis as `npm start` runs it or a Redis Cluster of so many masters. */
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { ownFolder, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { type RedisCluster, startRedisCluster } from '../../tests/support/redis-cluster.ts';

export interface BenchServers {
  /** For REDIS_URL. */
  readonly redisUrl: string;
  readonly databaseUrl: string;
  /** The one Redis, or the first node. */
  readonly redis: PrivateServer;
  readonly redisNodes: readonly PrivateServer[];
  /** Where there are masters of one. */
  readonly cluster: RedisCluster | undefined;
  readonly postgres: PrivateServer;
  stop(): Promise<void>;
}

/** @param redisMasters 0: one plain Redis */
export async function startBenchServers(options: {
  folder: string;
  distFolder: string;
  redisMasters: number;
}): Promise<BenchServers> {
  const { distFolder, redisMasters: masters } = options;
  const folder = ownFolder(options.folder);
  if (masters === 0) {
    const servers = await startPrivateServers({ folder, distFolder });
    return { ...servers, redisNodes: [servers.redis], cluster: undefined };
  }
  const postgres = await startPrivatePostgres({ folder });
  try {
    const cluster = await startRedisCluster({ folder, distFolder, masters });
    return {
      redisUrl: cluster.url,
      databaseUrl: postgres.url,
      redis: cluster.nodes[0] as PrivateServer,
      redisNodes: cluster.nodes,
      cluster,
      postgres,
      async stop() {
        await Promise.all([cluster.stop(), postgres.stop()]);
      },
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}
