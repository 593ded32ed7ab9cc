/**
 * The global rate limiter: a sliding window over the orders of all sales, in a Redis slot of its
 * own (lua/take-permits.lua). It implements the source document's "global limit".
 */

import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';
import { defineScripts } from './lua-script.ts';

/** Seconds until an unused window of the global rate limiter expires (source document). */
const GLOBAL_RATE_LIMITER_TTL_S = 5;

export interface Permits {
  /** Orders that may pass; −1 = no limit. */
  readonly granted: number;
  /** Slot of the window in which they count. */
  readonly slot: number;
  /** Permits left after these. */
  readonly remaining: number;
  /** Milliseconds until a refused order may get a permit. */
  readonly waitMs: number;
}

export type GlobalRateLimiter = ReturnType<typeof createGlobalRateLimiter>;

const UNLIMITED: Permits = { granted: -1, slot: 0, remaining: 0, waitMs: 0 };

/** @param limit orders a second for the whole system; 0 = no limit, and Redis is not called */
export function createGlobalRateLimiter({ redis, keys, limit }: { redis: AnyRedis; keys: Keys; limit: number }) {
  const run = defineScripts(redis);
  // Asked for each time: a warm-up exchanges the key.
  const names = () => ({ window: keys.globalRateLimiter });
  return {
    limit,

    /** Takes up to `wanted` permits. */
    async take(wanted: number): Promise<Permits> {
      if (limit === 0) return UNLIMITED;
      const [, ...numbers] = await run('take-permits', names(), [limit, wanted, GLOBAL_RATE_LIMITER_TTL_S]);
      const [granted, slot, remaining, waitMs] = numbers.map(Number) as [number, number, number, number];
      return { granted, slot, remaining, waitMs };
    },

    /** Returns unused permits to the slot in which they were taken. */
    async giveBack(permits: Permits, unused: number): Promise<void> {
      if (permits.granted < 0 || unused <= 0) return;
      await run('return-permits', names(), [permits.slot, unused]);
    },
  };
}
