/**
 * A sale in a real Redis, called through the inventory and read raw, all its keys in one round
 * trip. Many sequences run at once on one connection; each has its own sale, and so its own keys
 * and clock (test-clock.ts). Not covered here:
 *   - calls that overlap: Redis runs scripts one after the other, which tests/system/crowd.test.ts
 *     shows from outside;
 *   - when buckets are deleted: tests/core/buyers-bucket.test.ts;
 *   - passes of several pages: tests/core/commit-and-release.test.ts and
 *     tests/worker/reaper-passes.test.ts.
 */
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild, type InventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import type { Keys, SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { orderKeyValue } from '@flash-sale/core/inventory/reservation.ts';
import type { Redis } from 'ioredis';
import { encodeReservation } from '../support/reservation.ts';
import type { Instance, InventoryModel } from './inventory-model.ts';
import type { Mutation } from './mutations.ts';
import { clockKey, ModelMismatch, START_US, setClock, useTestClock } from './test-clock.ts';

/**
 * Buyers and keys of all sequences, with the characters that separate parts of records and fields.
 */
export const BUYERS = ['ann', 'b|1|c', 'eve'] as const;
export const ORDER_KEYS = ['k', 'k|12|x "y"'] as const;

/** Reservations of a sale, for a process with a low backlog limit. */
export const TIGHT_BACKLOG = 3;

/** Run id, or replication id, of another Redis instance. */
const OTHER_ID = '0'.repeat(40);

const NO_SUCH_KEY = -2;

/** Everything that Redis has of a sale. */
interface RawSale {
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

export interface Snapshot {
  readonly raw: RawSale;
  readonly buckets: Map<string, { tokens: number; at: number }>;
}

const HASHES = ['inventory', 'reservations', 'claims', 'redeliveries', 'buyers', 'orderKeys', 'stockChanges'] as const;

/** All keys of a sale as JSON, in one round trip. */
const READ = `
local found = {}
for i = 1, 7 do found[i] = redis.call('HGETALL', KEYS[i]) end
found[8] = redis.call('SMEMBERS', KEYS[8])
for i = 9, 10 do found[i] = { redis.call('TTL', KEYS[i]), redis.call('HGETALL', KEYS[i]) } end
return cjson.encode(found)`;

export interface SaleUnderTest {
  readonly id: string;
  readonly redis: Redis;
  readonly keys: SaleKeys;
  /** Of a process without, and of one with a low backlog limit. */
  readonly inventories: { readonly generous: Inventory; readonly tight: Inventory };
  readonly rebuild: InventoryRebuild;
  read(): Promise<Snapshot>;
  /** @param us microseconds since 1970 */
  setClock(us: number): Promise<void>;
  /** The instance id of a Redis instance. */
  nameOf(instance: Instance): string;
  /** The model's state as Redis would have it. */
  expected(model: InventoryModel): RawSale;
  remove(): Promise<unknown>;
}

export type InventoryUnderTest = Awaited<ReturnType<typeof createInventoryUnderTest>>;

export async function createInventoryUnderTest(
  { redis, keys }: { redis: Redis; keys: Keys },
  mutation?: Mutation,
): Promise<{ sale(): Promise<SaleUnderTest> }> {
  const inventories = {
    // One sale a call: each sequence has its own clock.
    generous: createInventory({ redis, keys, readsMax: 1 }),
    tight: createInventory({ redis, keys, readsMax: 1, backlogLimit: TIGHT_BACKLOG }),
  };
  const rebuild = createInventoryRebuild({ redis, keys });
  useTestClock(redis, mutation);
  redis.defineCommand('readSale', { lua: READ });
  const { readSale } = redis as unknown as { readSale(count: number, ...names: string[]): Promise<string> };
  const runId = /run_id:(\w+)/.exec(await redis.info('server'))?.[1] as string;
  const dataId = /master_replid:(\w+)/.exec(await redis.info('replication'))?.[1] as string;
  const nameOf = (instance: Instance): string =>
    `${instance === 'other_process' ? OTHER_ID : runId} ${instance === 'other_data' ? OTHER_ID : dataId}`;
  let sales = 0;

  return {
    /** A new sale, of which Redis knows nothing yet. */
    async sale() {
      sales += 1;
      const id = `sale${sales}`;
      const names = keys.sale(id);
      const all = [...HASHES.map((hash) => names[hash]), names.earlierOrders, names.buckets0, names.buckets1];
      await setClock(redis, names.inventory, START_US);
      return {
        id,
        redis,
        keys: names,
        inventories,
        rebuild,
        read: async () => readSnapshot(await readSale.call(redis, all.length, ...all)),
        setClock: (us) => setClock(redis, names.inventory, us),
        nameOf,
        expected: (model) => expectedRaw(model, nameOf),
        remove: () => redis.unlink(...all, names.rebuilder, clockKey(names.inventory)),
      };
    },
  };
}

/**
 * @returns a word if a call was refused because another epoch has the inventory, or an order has
 * ended
 */
export async function unlessOtherEpoch<Reply>(work: Promise<Reply>): Promise<Reply | 'other_epoch' | 'ended'> {
  return work.catch((error: unknown) => {
    if (error instanceof InventoryRecoveringError) return 'other_epoch';
    if (error instanceof OrderEndedError) return 'ended';
    throw error;
  });
}

function readSnapshot(json: string): Snapshot {
  const found = JSON.parse(json) as unknown[];
  const earlier = found[HASHES.length];
  const raw = {
    ...Object.fromEntries(HASHES.map((name, i) => [name, pairs(found[i])])),
    earlierOrders: Array.isArray(earlier) ? earlier.sort() : [],
  } as unknown as RawSale;
  return { raw, buckets: readBuckets(found.slice(HASHES.length + 1) as [number, unknown][]) };
}

/** @param halves seconds to live, and the fields of a hash; the newer one's buckets count */
function readBuckets(halves: readonly [number, unknown][]): Snapshot['buckets'] {
  const buckets: Snapshot['buckets'] = new Map();
  const since = (fields: Record<string, string>): number => Number(fields[' since']);
  const found = halves.map(([ttl, flat]) => ({ ttl, fields: pairs(flat) })).filter(({ ttl }) => ttl !== NO_SUCH_KEY);
  for (const { ttl, fields } of found.sort((a, b) => since(a.fields) - since(b.fields))) {
    if (ttl < 1 || ttl > 2 * 3_600) throw new ModelMismatch(`buckets are kept for ${ttl} s`);
    for (const [buyer, text] of Object.entries(fields)) {
      // No buyer's id has a space.
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

function expectedRaw(model: InventoryModel, nameOf: (instance: Instance) => string): RawSale {
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
