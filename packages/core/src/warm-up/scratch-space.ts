/**
 * Key spaces in which starting processes warm up, beside the keys of the system. Each is registered
 * before it has a key, so that a worker deletes what a killed process left in one.
 */
import { randomBytes } from 'node:crypto';
import { createKeys, type Keys } from '../inventory/keys.ts';
import { createOrderQueue } from '../queue/order-queue.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

/** Sales of a warm-up, each with a rule of its own. */
const VARIANTS = ['open', 'capped', 'sold-out', 'scheduled'] as const;

/** Seconds after which a space is abandoned: three times what a warm-up may take. */
const ABANDONED_AFTER_S = 10;

export interface ScratchSpace {
  /** Instead of KEY_PREFIX. */
  readonly prefix: string;
  /** Ids of its sales. No other sale of the ledger has one. */
  readonly saleIds: Readonly<Record<(typeof VARIANTS)[number], string>>;
}

function describeSpace(keyPrefix: string, id: string): ScratchSpace {
  const ids = VARIANTS.map((variant) => [variant, `warm-up-${id}.${variant}`]);
  return { prefix: `${keyPrefix}:warm-up-${id}`, saleIds: Object.fromEntries(ids) };
}

interface Place {
  readonly redis: AnyRedis;
  /** KEY_PREFIX. */
  readonly keyPrefix: string;
}

/** Calls `work` with a new space, and deletes the space. */
export async function withScratchSpace(place: Place, work: (space: ScratchSpace) => Promise<void>): Promise<void> {
  const { redis, keyPrefix } = place;
  const id = randomBytes(8).toString('hex');
  await redis.zadd(createKeys(keyPrefix).warmUps, (await nowAt(redis)) + ABANDONED_AFTER_S, id);
  try {
    await work(describeSpace(keyPrefix, id));
  } finally {
    await deleteSpace(place, id);
  }
}

/** Deletes the spaces of processes that were killed while they warmed up. */
export async function deleteAbandonedSpaces(place: Place): Promise<void> {
  const now = await nowAt(place.redis);
  const abandoned = await place.redis.zrangebyscore(createKeys(place.keyPrefix).warmUps, '-inf', now);
  for (const id of abandoned) await deleteSpace(place, id);
}

async function deleteSpace({ redis, keyPrefix }: Place, id: string): Promise<void> {
  const { prefix, saleIds } = describeSpace(keyPrefix, id);
  const keys = createKeys(prefix);
  const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
  await queue.bullQueue.obliterate({ force: true });
  await queue.close();
  await Promise.all(keysOf(keys, Object.values(saleIds)).map((key) => redis.unlink(key)));
  await redis.zrem(createKeys(keyPrefix).warmUps, id);
}

function keysOf(keys: Keys, saleIds: readonly string[]): string[] {
  const ofSales = saleIds.flatMap((saleId) => Object.values(keys.sale(saleId)));
  return [...new Set([...ofSales, keys.globalRateLimiter, keys.workerAlive, keys.ledger])];
}

/** In seconds, by the clock of Redis. */
async function nowAt(redis: AnyRedis): Promise<number> {
  return Number((await redis.time())[0]);
}
