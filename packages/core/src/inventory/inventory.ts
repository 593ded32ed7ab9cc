/**
 * The inventory: decides in Redis who gets a unit. Each method runs one script of lua/, which is
 * one atomic step.
 *
 * An inventory is open in one Redis instance and has an epoch. A writer names the epoch that it
 * acts for; in another one nothing is written, because that inventory was rebuilt from the ledger
 * (inventory-rebuild.ts).
 *
 * Every method throws what the connection throws; then it is unknown whether the script ran.
 */

import type { AcceptedOrder, OrderBatch, OrderRequest, RejectionReason } from '../domain/order.ts';
import type { Sale } from '../domain/sale.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { publishInvalidation } from './invalidations.ts';
import type { Keys } from './keys.ts';
import { listInventories } from './list-inventories.ts';
import { defineScripts } from './lua-script.ts';
import { salesWithReservations } from './open-reservations.ts';
import {
  type InventoryCheck,
  InventoryRecoveringError,
  OrderEndedError,
  type Orphan,
  type OrphansFound,
  type PassPosition,
  type ReserveDecision,
  readmitReasons,
  readOutcome,
} from './outcomes.ts';
import { createNumbersReader, READS_MAX } from './read-numbers.ts';
import { decodeReservation, orderKeyField, orderKeyValue } from './reservation.ts';

/** Seconds until a buyer's unused bucket expires (source document). */
const BUYER_BUCKET_TTL_S = 3_600;

/** Orders per call of commit.lua: it blocks Redis for half a millisecond. */
export const COMMIT_BATCH_MAX = 250;

/**
 * Reservations per call of claim-orphans.lua: it blocks Redis for 0.8 ms, or 2 ms if all are
 * orphans.
 */
export const REAPER_SCAN_COUNT = 200;

export interface BuyerBucketSettings {
  /** Tokens in a full bucket; 0 = no limit per buyer. */
  readonly capacity: number;
  /** Tokens a second. */
  readonly refillRate: number;
}

/** More orders than Redis can hold. */
const NO_BACKLOG_LIMIT = 2 ** 40;

export type Inventory = ReturnType<typeof createInventory>;

/**
 * @param backlogLimit reservations that one sale may have at a time; default: no limit
 * @param readsMax sales whose numbers one call reads
 */
export function createInventory({
  redis,
  keys,
  backlogLimit = NO_BACKLOG_LIMIT,
  // A command of a cluster has keys of one sale.
  readsMax = redis.isCluster ? 1 : READS_MAX,
}: {
  redis: AnyRedis;
  keys: Keys;
  backlogLimit?: number;
  readsMax?: number;
}) {
  const run = defineScripts(redis);
  const readNumbers = createNumbersReader({ run, keys }, readsMax);
  const invalidate = (saleId: string): void => publishInvalidation({ redis, keys }, saleId);

  return {
    /**
     * Decides a batch of orders of one sale, in the order given.
     *
     * @param permits orders that the global rate limiter lets through; −1 = no limit
     * @returns a decision for each order, and the permits that were not used
     */
    async reserve(
      saleId: string,
      orders: readonly OrderRequest[],
      permits: number,
      bucket: BuyerBucketSettings,
    ): Promise<{ decisions: ReserveDecision[]; permitsLeft: number }> {
      const { capacity, refillRate } = bucket;
      const rows = orders.map(({ id, quantity, requestId, buyerId, idempotencyKey }) => [
        id,
        quantity,
        requestId,
        buyerId,
        idempotencyKey ?? '',
      ]);
      const args = [permits, capacity, refillRate, BUYER_BUCKET_TTL_S, backlogLimit, JSON.stringify(rows)];
      const [kind, ...rest] = await run('reserve', keys.sale(saleId), args);
      if (kind !== 'decided') {
        const outcome = { kind: kind as 'unknown_sale' | 'recovering' };
        const decision = { outcome, tokensLeft: -1, tokenInMs: 0 };
        return { decisions: orders.map(() => decision), permitsLeft: permits };
      }
      const [available, permitsLeft, reservedAt, epoch] = rest.map(Number) as [number, number, number, number];
      const texts = String(rest[4]).split(' ');
      const shared = { available, reservedAt, epoch };
      const decisions = orders.map((_, i) => {
        const thousandths = Number(texts[3 * i + 2]);
        const isWaiting = capacity > 0 && thousandths >= 0 && thousandths < 1_000;
        return {
          outcome: readOutcome(texts[3 * i] as string, texts[3 * i + 1] as string, shared),
          tokensLeft: Math.floor(thousandths / 1_000),
          tokenInMs: isWaiting ? Math.ceil((1_000 - thousandths) / refillRate) : 0,
        };
      });
      return { decisions, permitsLeft };
    },

    /**
     * Moves the units of orders that the ledger has confirmed from reserved to sold. Idempotent.
     * Does nothing in another epoch: that inventory is rebuilt from a ledger that has these orders.
     *
     * @returns how many were still reserved
     */
    async commit(saleId: string, epoch: number, orderIds: readonly string[]): Promise<number> {
      let committed = 0;
      for (let at = 0; at < orderIds.length; at += COMMIT_BATCH_MAX) {
        const chunk = orderIds.slice(at, at + COMMIT_BATCH_MAX);
        const [kind, orders] = await run('commit', keys.sale(saleId), [epoch, ...chunk]);
        if (kind === 'other_epoch') break;
        committed += Number(orders);
      }
      return committed;
    },

    /**
     * Returns the units of orders to available. Idempotent; does nothing in another epoch.
     *
     * @returns how many held units
     */
    async release(saleId: string, epoch: number, orderIds: readonly string[]): Promise<number> {
      if (orderIds.length === 0) return 0;
      const [kind, orders] = await run('release', keys.sale(saleId), [epoch, ...orderIds]);
      if (kind === 'other_epoch') return 0;
      // Even if nothing was released: an earlier call may have done it and lost its reply.
      invalidate(saleId);
      return Number(orders);
    },

    /**
     * Takes units for orders that an earlier epoch accepted and whose reservations Redis may have
     * lost. The caller holds the lock of the sale's row, has read the batch's epoch under it, and
     * the ledger has none of the orders. A call that comes late changes nothing that has ended.
     *
     * @returns why orders are refused, by order id
     * @throws InventoryRecoveringError if the inventory is not open in the batch's epoch
     * @throws OrderEndedError if one of them has ended since the ledger was read; the others keep
     * what they were given
     */
    async readmit({ saleId, epoch, orders }: OrderBatch): Promise<ReadonlyMap<string, RejectionReason>> {
      const args = orders.flatMap((order) => [
        order.id,
        order.quantity,
        order.reservedAt,
        order.requestId,
        order.buyerId,
        order.idempotencyKey ?? '',
      ]);
      const [kind, ...kinds] = await run('readmit', keys.sale(saleId), [epoch, ...args]);
      if (kind === 'other_epoch') throw new InventoryRecoveringError(saleId);
      const refused = new Map<string, RejectionReason>();
      for (const [i, { id }] of orders.entries()) {
        if (kinds[i] === 'ended') throw new OrderEndedError(id);
        const reason = readmitReasons[kinds[i] as string];
        if (reason === undefined) throw new Error(`lua/readmit.lua answered with an unknown word: ${kinds[i]}`);
        if (reason) refused.set(id, reason);
      }
      return refused;
    },

    /**
     * @returns null if the order has no reservation; 'recovering' if it has none because the
     * inventory is closed
     */
    async findReservation(saleId: string, orderId: string): Promise<AcceptedOrder | 'recovering' | null> {
      const sale = keys.sale(saleId);
      const text = await redis.hget(sale.reservations, orderId);
      if (text !== null) return decodeReservation(orderId, text);
      return (await readNumbers(saleId)).numbers ? null : 'recovering';
    },

    /** @returns those of the orders that hold units */
    async reservedAmong(saleId: string, orderIds: readonly string[]): Promise<Set<string>> {
      if (orderIds.length === 0) return new Set();
      const texts = await redis.hmget(keys.sale(saleId).reservations, ...orderIds);
      return new Set(orderIds.filter((_, i) => texts[i] !== null));
    },

    /** @returns those of the sales that have reservations */
    withReservations: (saleIds: readonly string[]) => salesWithReservations({ redis, keys }, saleIds),

    /**
     * Creates the inventory of a sale that never had one.
     *
     * @returns false if there is one: it stays as it is
     */
    async create(sale: Sale): Promise<boolean> {
      const { allotment, startsAt, endsAt, perBuyerLimit, paused, version, epoch } = sale;
      const args = [allotment, startsAt, endsAt, perBuyerLimit, paused ? 1 : 0, version, epoch];
      const [kind] = await run('create-inventory', keys.sale(sale.id), args);
      if (kind === 'opened') invalidate(sale.id);
      return kind === 'opened';
    },

    /**
     * Brings window and pause from the ledger; an older version changes nothing.
     *
     * @returns false if the inventory is closed
     */
    async configure(sale: Sale): Promise<boolean> {
      const args = [sale.version, sale.paused ? 1 : 0, sale.startsAt, sale.endsAt];
      const [kind] = await run('configure-sale', keys.sale(sale.id), args);
      if (kind === 'configured') invalidate(sale.id);
      return kind !== 'recovering';
    },

    /**
     * Adds or withdraws units. Each change id is decided once.
     *
     * @param delta units; negative withdraws
     * @returns the decision, the units available now, and the epoch in which the decision holds
     */
    async adjust(
      saleId: string,
      changeId: string,
      delta: number,
    ): Promise<{ kind: 'applied' | 'refused'; available: number; epoch: number } | { kind: 'recovering' }> {
      const [found, available, epoch] = await run('adjust-stock', keys.sale(saleId), [changeId, delta]);
      const kind = found as 'applied' | 'refused' | 'recovering';
      if (kind === 'recovering') return { kind };
      if (kind === 'applied' && delta > 0) invalidate(saleId);
      return { kind, available: Number(available), epoch: Number(epoch) };
    },

    read: readNumbers,

    /** Redis's clock, ms since 1970: sales start and end by it. In a cluster, that of any node. */
    async now(): Promise<number> {
      const [seconds, microseconds] = (await redis.time()).map(Number) as [number, number];
      return seconds * 1_000 + Math.floor(microseconds / 1_000);
    },

    /** Ids of the sales that have an inventory, open or closed. Scans all keys, page by page. */
    list: (): Promise<Set<string>> => listInventories(redis, keys),

    /** Whether the inventory can be trusted. @param epoch of the ledger's row */
    async check(saleId: string, epoch: number): Promise<InventoryCheck> {
      const [kind, found] = await run('check-inventory', keys.sale(saleId), [epoch]);
      return { condition: kind as InventoryCheck['condition'], epoch: Number(found) };
    },

    /**
     * Reads about REAPER_SCAN_COUNT reservations and claims those that have been uncommitted for
     * `ageMs`: no other worker gets them for the same time. Reservations that cannot be read are
     * returned separately, so that they do not block the others.
     *
     * @param pauseMs after a pass, after which the next one may start in any case
     * @param position where the pass continues; null starts one, if it is time
     */
    async claimOrphans(
      saleId: string,
      { ageMs, pauseMs }: { ageMs: number; pauseMs: number },
      position: PassPosition | null,
    ): Promise<OrphansFound> {
      const { cursor, waitingSince } = position ?? { cursor: '0', waitingSince: '' };
      const args = [ageMs, pauseMs, REAPER_SCAN_COUNT, cursor, waitingSince];
      const [kind, epoch, nextCursor, waits, found] = await run('claim-orphans', keys.sale(saleId), args);
      const orphans: Orphan[] = [];
      const unreadable: string[] = [];
      if (kind === 'recovering') return { orphans, unreadable, epoch: 0, next: null };
      const flat = found as unknown[];
      for (let i = 0; i < flat.length; i += 3) {
        const order = decodeReservation(String(flat[i]), String(flat[i + 1]));
        if (order) orphans.push({ ...order, redeliveries: Number(flat[i + 2]) });
        else unreadable.push(String(flat[i]));
      }
      const next = nextCursor === '0' ? null : { cursor: String(nextCursor), waitingSince: String(waits) };
      return { orphans, unreadable, epoch: Number(epoch), next };
    },

    /** Counts one more redelivery of each of the orders that is still reserved. */
    async countRedeliveries(saleId: string, orderIds: readonly string[]): Promise<void> {
      await run('count-redeliveries', keys.sale(saleId), ['add', ...orderIds]);
    },

    /**
     * Sets counts of redeliveries back to 1: the last worker reported an error, so the orders do
     * not crash workers.
     */
    async resetRedeliveries(saleId: string, orderIds: readonly string[]): Promise<void> {
      await run('count-redeliveries', keys.sale(saleId), ['reset', ...orderIds]);
    },

    /**
     * Makes a buyer's key return the order that the ledger has under it, after Redis lost the key.
     */
    async pointKey(
      saleId: string,
      epoch: number,
      { buyerId, idempotencyKey }: { buyerId: string; idempotencyKey: string },
      order: Pick<AcceptedOrder, 'id' | 'quantity'>,
    ): Promise<void> {
      const args = [epoch, orderKeyField(buyerId, idempotencyKey), orderKeyValue(order)];
      await run('point-key', keys.sale(saleId), args);
    },
  };
}
