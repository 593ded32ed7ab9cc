/**
 * Notifies every API process that refusals of a sale may be outdated: units came back, or the
 * window or pause changed. A message can be lost, so cached refusals also expire by themselves.
 */

import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import type { Keys } from './keys.ts';

/** Milliseconds until a refused subscription is tried again. */
const RETRY_MS = 1_000;

interface Connection {
  readonly redis: AnyRedis;
  readonly keys: Keys;
}

/** Does not wait and does not fail: what the message is about has happened already. */
export function publishInvalidation({ redis, keys }: Connection, saleId: string): void {
  redis.publish(keys.invalidationChannel(saleId), saleId).catch(() => {});
}

/**
 * @param connection whose Redis connection is used for nothing else
 * @param onInvalidation gets the sale's id, or null when messages may have been missed
 * @throws when Redis cannot be reached
 */
export async function subscribeToInvalidations(
  { redis, keys }: Connection,
  onInvalidation: (saleId: string | null) => void,
): Promise<void> {
  redis.on('pmessage', (_pattern: string, _channel: string, saleId: string) => onInvalidation(saleId));
  redis.on('close', () => onInvalidation(null));
  const subscribe = () => redis.psubscribe(keys.invalidationPattern);
  const subscribeAgain = (): void =>
    void subscribe().catch((error: unknown) => {
      redis.emit('error', error);
      setTimeout(subscribeAgain, RETRY_MS).unref();
    });
  redis.on('ready', () => {
    onInvalidation(null);
    subscribeAgain();
  });
  await subscribe();
}
