/**
 * The real thing of the model-based tests: a sale of its own in a real Redis, called through the inventory and read raw, all its keys in one
 * round trip. Many sequences run at once on one connection; each has its own sale and so its own keys.
 *
 * Time. The scripts ask Redis what time it is, and the model cannot. So each look at the state brings Redis' clock along: whatever a command
 * wrote must lie between the looks before and after it. Within these bounds the model takes over the instant that Redis wrote (reserved at,
 * claimed at, a bucket's at), and everything that follows from it is compared exactly. Words are certain all the same, by the values that
 * the commands choose: windows of sales lie decades away, buckets fill up within a microsecond or never, orphans are
 * claimed at once, after an hour, or never. What is therefore not covered, and by which test it is:
 *   - the edges of a window, and waiting for one: `reserve.test.ts` (the window of a sale, by the clock of Redis);
 *   - buckets that fill up at ordinary rates, and when they are gone: `buyers-bucket.test.ts`;
 *   - orphans that become old enough as time passes: `commit-and-release.test.ts` (orphans); passes of several looks: there, and
 *     `tests/worker/reaper-passes.test.ts`;
 *   - calls that overlap: Redis carries scripts out one after the other, which `tests/system/crowd.test.ts` sees from outside.
 */
import { inspect, isDeepStrictEqual } from 'node:util';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild, type InventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import type { Keys, SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { encodeReservation, orderKeyValue } from '@flash-sale/core/inventory/reservation.ts';
import type { Redis } from 'ioredis';
import type { Bucket, InventoryModel, Life } from './inventory-model.ts';

/** Buyers and keys of all sequences; with the characters that records and fields are divided by. */
export const BUYERS = ['ann', 'b|1|c', 'eve'] as const;
export const ORDER_KEYS = ['k', 'k|12|x "y"'] as const;

/** Orders that may be reserved at a time, of a process that is set up tightly. */
export const TIGHT_BACKLOG = 3;

/** The run id, or the replication id, of another life of Redis. */
const OTHER_ID = '0'.repeat(40);

/** What TTL says of a key that is not there. */
const NO_SUCH_KEY = -2;

/** A difference between Redis and the model. */
export class ModelMismatch extends Error {
  override name = 'ModelMismatch';
}

/** @param what is said only where they differ: to say it takes longer than to compare. @throws ModelMismatch */
export function expectSame(what: () => string, inRedis: unknown, inModel: unknown): void {
  if (isDeepStrictEqual(inRedis, inModel)) return;
  const show = (value: unknown): string => inspect(value, { depth: 8, breakLength: 140, sorted: true });
  throw new ModelMismatch(`${what()}\n  in Redis: ${show(inRedis)}\n  in the model: ${show(inModel)}`);
}

/** Everything that Redis has of a sale. */
export interface RawSale {
  inventory: Record<string, string>;
  reservations: Record<string, string>;
  claims: Record<string, string>;
  redeliveries: Record<string, string>;
  buyers: Record<string, string>;
  orderKeys: Record<string, string>;
  stockChanges: Record<string, string>;
  /** By id. */
  earlierOrders: string[];
}

/** A look at a sale: its records, and Redis' clock. */
export interface Look {
  readonly raw: RawSale;
  readonly buckets: Map<string, Bucket>;
  /** Microseconds since 1970: of the look before, and of this one. What a command did lies between. */
  readonly fromUs: number;
  readonly toUs: number;
}

const HASHES = ['inventory', 'reservations', 'claims', 'redeliveries', 'buyers', 'orderKeys', 'stockChanges'] as const;

/** All keys of a sale as JSON. A script, for the sake of one instant and one round trip; it has a command's name on the connection. */
const LOOK = `
local found = { redis.call('TIME') }
for i = 1, 7 do found[#found + 1] = redis.call('HGETALL', KEYS[i]) end
table.insert(found, redis.call('SMEMBERS', KEYS[8]))
for i = 9, 10 do found[#found + 1] = { redis.call('TTL', KEYS[i]), redis.call('HGETALL', KEYS[i]) } end
return cjson.encode(found)`;

export interface SaleUnderTest {
  readonly id: string;
  readonly redis: Redis;
  readonly keys: SaleKeys;
  /** Of a process without, and of one with a backlog limit. */
  readonly inventories: { readonly generous: Inventory; readonly tight: Inventory };
  readonly rebuild: InventoryRebuild;
  look(): Promise<Look>;
  /** How a life of Redis is written into an inventory. */
  nameOf(life: Life): string;
  /** The model's state as Redis would have it. */
  expected(model: InventoryModel): RawSale;
  remove(): Promise<unknown>;
}

export type InventoryUnderTest = Awaited<ReturnType<typeof createInventoryUnderTest>>;

export async function createInventoryUnderTest({ redis, keys }: { redis: Redis; keys: Keys }) {
  const inventories = {
    generous: createInventory({ redis, keys }),
    tight: createInventory({ redis, keys, backlogLimit: TIGHT_BACKLOG }),
  };
  const rebuild = createInventoryRebuild({ redis, keys });
  redis.defineCommand('lookAtSale', { lua: LOOK });
  const { lookAtSale } = redis as unknown as { lookAtSale(count: number, ...names: string[]): Promise<string> };
  const runId = /run_id:(\w+)/.exec(await redis.info('server'))?.[1] as string;
  const dataId = /master_replid:(\w+)/.exec(await redis.info('replication'))?.[1] as string;
  const nameOf = (life: Life): string =>
    `${life === 'other_process' ? OTHER_ID : runId} ${life === 'other_data' ? OTHER_ID : dataId}`;
  let sales = 0;

  return {
    /** A new sale, of which Redis knows nothing yet. */
    sale(): SaleUnderTest {
      sales += 1;
      const id = `sale${sales}`;
      const names = keys.sale(id);
      const all = [...HASHES.map((hash) => names[hash]), names.earlierOrders, names.buckets0, names.buckets1];
      let fromUs = 0;
      return {
        id,
        redis,
        keys: names,
        inventories,
        rebuild,
        async look() {
          const look = readLook(await lookAtSale.call(redis, all.length, ...all), fromUs);
          fromUs = look.toUs;
          return look;
        },
        nameOf,
        expected: (model) => expectedRaw(model, nameOf),
        remove: () => redis.unlink(...all, names.rebuilder),
      };
    },
  };
}

/** What was refused because another epoch has the inventory, or an order has ended. */
export async function unlessOtherEpoch<Reply>(work: Promise<Reply>): Promise<Reply | 'other_epoch' | 'ended'> {
  return work.catch((error: unknown) => {
    if (error instanceof InventoryRecoveringError) return 'other_epoch';
    if (error instanceof OrderEndedError) return 'ended';
    throw error;
  });
}

function readLook(json: string, fromUs: number): Look {
  const [time, ...found] = JSON.parse(json) as [[string, string], ...unknown[]];
  const records = found.slice(0, HASHES.length).map(pairs);
  const earlier = found[HASHES.length];
  const raw = {
    ...Object.fromEntries(HASHES.map((name, i) => [name, records[i]])),
    earlierOrders: Array.isArray(earlier) ? earlier.sort() : [],
  } as unknown as RawSale;
  return {
    raw,
    buckets: readBuckets(found.slice(HASHES.length + 1) as [number, unknown][]),
    fromUs,
    toUs: Number(time[0]) * 1e6 + Number(time[1]),
  };
}

/** @param halves seconds to live, and the fields of a hash; the newer one's word stands above the older's */
function readBuckets(halves: readonly [number, unknown][]): Map<string, Bucket> {
  const buckets = new Map<string, Bucket>();
  const since = (fields: Record<string, string>): number => Number(fields[' since']);
  const found = halves.map(([ttl, flat]) => ({ ttl, fields: pairs(flat) })).filter(({ ttl }) => ttl !== NO_SUCH_KEY);
  for (const { ttl, fields } of found.sort((a, b) => since(a.fields) - since(b.fields))) {
    // For how long exactly, `buyers-bucket.test.ts` says.
    if (ttl < 1 || ttl > 2 * 3_600) throw new ModelMismatch(`buckets are kept for ${ttl} s`);
    for (const [buyer, text] of Object.entries(fields)) {
      // No buyer's id holds a space.
      if (buyer.startsWith(' ')) continue;
      const [tokens, at] = text.split(':').map(Number) as [number, number];
      buckets.set(buyer, { tokens, at });
    }
  }
  return buckets;
}

/** An empty list is an empty object in Redis' JSON. */
function pairs(flat: unknown): Record<string, string> {
  const record: Record<string, string> = {};
  if (Array.isArray(flat)) for (let i = 0; i < flat.length; i += 2) record[flat[i]] = flat[i + 1];
  return record;
}

function expectedRaw(model: InventoryModel, nameOf: (life: Life) => string): RawSale {
  const inventory: Record<string, string> = {};
  if (model.inventory) {
    const { epoch, openIn, closedIn, numbers, orders, nextPass, settings } = model.inventory;
    inventory.epoch = String(epoch);
    inventory.instance_id = openIn === null ? '' : nameOf(openIn);
    if (closedIn !== null) inventory.closed_in = nameOf(closedIn);
    for (const [name, units] of Object.entries(numbers ?? {})) inventory[name] = String(units);
    if (orders !== null) inventory.orders = String(orders);
    if (nextPass !== null) inventory.next_pass = String(nextPass);
    if (settings) {
      inventory.starts_at = String(settings.startsAt);
      inventory.ends_at = String(settings.endsAt);
      inventory.per_buyer_limit = String(settings.perBuyerLimit);
      inventory.paused = settings.paused ? '1' : '0';
      inventory.version = String(settings.version);
    }
  }
  return {
    inventory,
    reservations: texts(model.reservations, encodeReservation),
    claims: texts(model.claims, String),
    redeliveries: texts(model.redeliveries, String),
    buyers: texts(model.buyers, String),
    orderKeys: texts(model.orderKeys, orderKeyValue),
    stockChanges: texts(model.stockChanges, String),
    earlierOrders: [...model.earlierOrders].sort(),
  };
}

function texts<Value>(map: ReadonlyMap<string, Value>, text: (value: Value) => string): Record<string, string> {
  return Object.fromEntries([...map].map(([field, value]) => [field, text(value)]));
}
