/**
 * A worker's heartbeat: without one, the API's health check reports that no worker is running.
 */

import { WHEN_FULL } from '../runtime/redis/full-redis.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

const GIVE = `${WHEN_FULL}return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])`;

export type Heartbeat = ReturnType<typeof createHeartbeat>;

export function createHeartbeat({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** @param aliveMs milliseconds that it is valid */
    async give(aliveMs: number): Promise<void> {
      await redis.eval(GIVE, 1, keys.workerAlive, aliveMs);
    },
    /** True while the heartbeat of any worker is valid. */
    async isFresh(): Promise<boolean> {
      return (await redis.exists(keys.workerAlive)) === 1;
    },
  };
}
