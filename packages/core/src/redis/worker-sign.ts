/** A worker's sign of life, so that a health check can say that nobody is confirming. */

import { WORKER_ALIVE_S } from '../limits.ts';
import type { Keys } from './keys.ts';
import type { AnyRedis } from './open-redis.ts';

export type WorkerSign = ReturnType<typeof createWorkerSign>;

export function createWorkerSign({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    async give(): Promise<void> {
      await redis.set(keys.workerAlive, '1', 'EX', WORKER_ALIVE_S);
    },
    /** True where any worker gave the sign within WORKER_ALIVE_S seconds. */
    async isFresh(): Promise<boolean> {
      return (await redis.exists(keys.workerAlive)) === 1;
    },
  };
}
