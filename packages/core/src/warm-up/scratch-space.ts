/**
 * Key spaces in which starting processes warm up, beside the keys of the system. Each is registered
 * before it has a key, so that a worker deletes what a killed process left in it.
 */
import { randomBytes } from 'node:crypto';
import { createKeys, type Keys } from '../inventory/keys.ts';
import type { LedgerSale } from '../ledger/sale-rows.ts';
import { createOrderQueue } from '../queue/order-queue.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

/** Sales of a warm-up, each with a rule of its own. */
const VARIANTS = {
  open: {},
  capped: { perBuyerLimit: 1 },
  'sold-out': { allotment: 1 },
  scheduled: { startsAt: Date.UTC(2100) },
} as const satisfies Record<string, Partial<LedgerSale>>;

/** Seconds after which a space is abandoned: longer than a warm-up takes. */
const ABANDONED_AFTER_S = 30;

export interface ScratchSpace {
  /** In its keys, and in the ids of its sales. */
  readonly name: string;
  readonly keys: Keys;
  /** No sale of the ledger has one of their ids. */
  readonly sales: Readonly<Record<keyof typeof VARIANTS, LedgerSale>>;
}

interface Place {
  readonly redis: AnyRedis;
  readonly keyPrefix: string;
}

/** Runs `work` with a new space, and deletes it. */
export async function withScratchSpace(place: Place, work: (space: ScratchSpace) => Promise<void>): Promise<void> {
  const { redis, keyPrefix } = place;
  const id = randomBytes(8).toString('hex');
  await redis.zadd(createKeys(keyPrefix).scratchSpaces, (await secondAt(redis)) + ABANDONED_AFTER_S, id);
  try {
    await work(spaceOf(keyPrefix, id));
  } finally {
    await deleteSpace(place, id);
  }
}

/** Deletes the spaces of processes that were killed while they warmed up. */
export async function deleteAbandonedSpaces(place: Place): Promise<void> {
  const second = await secondAt(place.redis);
  const abandoned = await place.redis.zrangebyscore(createKeys(place.keyPrefix).scratchSpaces, '-inf', second);
  for (const id of abandoned) await deleteSpace(place, id);
}

function spaceOf(keyPrefix: string, id: string): ScratchSpace {
  const name = `warm-up-${id}`;
  const base = {
    name: 'Warm-up',
    description: null,
    originalPrice: '2.00',
    flashSalePrice: '1.00',
    currency: 'USD',
    allotment: 10_000_000,
    sold: 0,
    perBuyerLimit: 0,
    // Open by any clock.
    startsAt: Date.UTC(2000),
    endsAt: Date.UTC(2200),
    paused: false,
    version: 1,
    inventoryVersion: 1,
    epoch: 1,
  };
  const sales = Object.entries(VARIANTS).map(([variant, changed]) => {
    // In front of most ids: the ledger's indexes grow at their end without splitting full pages.
    const sale: LedgerSale = { ...base, ...changed, id: `0-${name}.${variant}` };
    return [variant, sale] as const;
  });
  return {
    name,
    keys: createKeys(keyPrefix, `:${name}`),
    sales: Object.fromEntries(sales) as unknown as ScratchSpace['sales'],
  };
}

async function deleteSpace({ redis, keyPrefix }: Place, id: string): Promise<void> {
  const { keys, sales } = spaceOf(keyPrefix, id);
  const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
  await queue.bullQueue.obliterate({ force: true });
  await queue.close();
  const ofSales = Object.values(sales).flatMap((sale) => Object.values(keys.sale(sale.id)));
  for (const key of [...ofSales, keys.globalRateLimiter]) await redis.unlink(key);
  await redis.zrem(createKeys(keyPrefix).scratchSpaces, id);
}

/** By the clock of Redis. */
async function secondAt(redis: AnyRedis): Promise<number> {
  return Number((await redis.time())[0]);
}
