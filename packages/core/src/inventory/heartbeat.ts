/**
 * A worker's heartbeat: without one, the API's health check reports that nobody confirms orders.
 */

import { WORKER_ALIVE_S } from '../config/limits.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

export type Heartbeat = ReturnType<typeof createHeartbeat>;

export function createHeartbeat({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    async give(): Promise<void> {
      await redis.set(keys.workerAlive, '1', 'EX', WORKER_ALIVE_S);
    },
    /** True if any worker gave one within WORKER_ALIVE_S seconds. */
    async isFresh(): Promise<boolean> {
      return (await redis.exists(keys.workerAlive)) === 1;
    },
  };
}
