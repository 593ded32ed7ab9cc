/**
 * Invalidation of a sale for every API process: something changed that may end a refusal (a unit came back, the window or the pause was moved).
 * Invalidation may be lost, with a connection or between two steps: whoever remembers refusals lets them grow old by themselves, too.
 */

import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

export type Invalidations = ReturnType<typeof createInvalidations>;

export function createInvalidations({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** Not waited for: what is told has happened already. */
    tell(saleId: string): void {
      redis.publish(keys.invalidationChannel(saleId), saleId).catch(() => {});
    },
  };
}

/**
 * @param redis a connection that is used for nothing else
 * @param onInvalidation called with the sale's id; with null where invalidation may have been missed
 */
export async function subscribeToInvalidations(
  { redis, keys }: { redis: AnyRedis; keys: Keys },
  onInvalidation: (saleId: string | null) => void,
): Promise<void> {
  redis.on('pmessage', (_pattern: string, _channel: string, saleId: string) => onInvalidation(saleId));
  redis.on('close', () => onInvalidation(null));
  redis.on('ready', () => onInvalidation(null));
  await redis.psubscribe(keys.invalidationPattern);
}
