/**
 * News of a sale for every API process: something changed that may end a refusal (a unit came back, the window or the pause was moved).
 * News may be lost, with a connection or between two steps: whoever remembers refusals lets them grow old by themselves, too.
 */

import type { Keys } from './keys.ts';
import type { AnyRedis } from './open-redis.ts';

export type SaleNews = ReturnType<typeof createSaleNews>;

export function createSaleNews({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  return {
    /** Not waited for: what is told has happened already. */
    tell(saleId: string): void {
      redis.publish(keys.newsOf(saleId), saleId).catch(() => {});
    },
  };
}

/**
 * @param redis a connection that is used for nothing else
 * @param onNews called with the sale's id; with null where news may have been missed
 */
export async function listenForNews(
  { redis, keys }: { redis: AnyRedis; keys: Keys },
  onNews: (saleId: string | null) => void,
): Promise<void> {
  redis.on('pmessage', (_pattern: string, _channel: string, saleId: string) => onNews(saleId));
  redis.on('close', () => onNews(null));
  redis.on('ready', () => onNews(null));
  await redis.psubscribe(keys.newsOfAll);
}
