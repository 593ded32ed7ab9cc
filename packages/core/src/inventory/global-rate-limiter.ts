/**
 * The system-wide sliding window, asked once for a batch of orders. It lives in a slot of its own, so that sales can live
 * in others.
 * Source of the algorithm: sliding window counter over two fixed windows, as in the source document's "global limit".
 */

import { GLOBAL_RATE_LIMITER_TTL_S } from '../config/limits.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';
import { defineScripts } from './lua-script.ts';

export interface Permits {
  /** Orders that may pass; −1 = there is no limit. */
  readonly granted: number;
  /** Second (by Redis' clock) that they count in. */
  readonly second: number;
  /** Permits that were left after these. */
  readonly remaining: number;
  /** Milliseconds until a refused order may find a permit. */
  readonly waitMs: number;
  /** Milliseconds that were left of `second`. */
  readonly secondLeftMs: number;
}

export type GlobalRateLimiter = ReturnType<typeof createGlobalRateLimiter>;

const UNLIMITED: Permits = { granted: -1, second: 0, remaining: 0, waitMs: 0, secondLeftMs: 0 };

/** @param limit orders a second for the whole system; 0 = none, and Redis is not asked */
export function createGlobalRateLimiter({ redis, keys, limit }: { redis: AnyRedis; keys: Keys; limit: number }) {
  const run = defineScripts(redis);
  return {
    limit,

    async take(wanted: number): Promise<Permits> {
      if (limit === 0) return UNLIMITED;
      const [word, granted, second, remaining, waitMs, secondLeftMs] = await run(
        'take-permits',
        [keys.globalRateLimiter],
        [limit, wanted, GLOBAL_RATE_LIMITER_TTL_S],
      );
      if (word !== 'permits') throw new Error(`lua/take-permits.lua answered with an unknown word: ${String(word)}`);
      return {
        granted: Number(granted),
        second: Number(second),
        remaining: Number(remaining),
        waitMs: Number(waitMs),
        secondLeftMs: Number(secondLeftMs),
      };
    },

    /** Gives unused permits back to the second that they were taken in. */
    async giveBack(permits: Permits, unused: number): Promise<void> {
      if (permits.granted < 0 || unused <= 0) return;
      await run('return-permits', [keys.globalRateLimiter], [permits.second, unused]);
    },
  };
}
