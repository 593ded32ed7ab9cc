/**
 * A worker's heartbeat: without one, the API's health check reports that no worker is running.
 */

import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

export type Heartbeat = ReturnType<typeof createHeartbeat>;

export function createHeartbeat({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** @param aliveMs milliseconds that it is valid */
    async give(aliveMs: number): Promise<void> {
      await redis.set(keys.workerAlive, '1', 'PX', aliveMs);
    },
    /** True while the heartbeat of any worker is valid. */
    async isFresh(): Promise<boolean> {
      return (await redis.exists(keys.workerAlive)) === 1;
    },
  };
}
