/**
 * The inventory: who gets a unit is decided here, in Redis, by the scripts of lua/. This file calls them and reads their words.
 * Every method is one atomic step. A word that it does not know is a fault of ours and throws.
 *
 * An inventory is open in one life of Redis and has an epoch in it. Whoever wants to write says the epoch that he speaks for; in another
 * one nothing is written, for there the inventory was rebuilt from the ledger (inventory-rebuild.ts).
 */

import { BUYER_BUCKET_TTL_S, COMMIT_BATCH_MAX, REAPER_LOOK } from '../config/limits.ts';
import type { AcceptedOrder, OrderBatch, RejectionReason } from '../domain/order.ts';
import type { Sale, StockNumbers } from '../domain/sale.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { createInvalidations } from './invalidations.ts';
import type { Keys } from './keys.ts';
import { defineScripts } from './lua-script.ts';
import {
  expectWord,
  type InventoryCheck,
  InventoryRecoveringError,
  inventoryConditions,
  OrderEndedError,
  type Orphan,
  type OrphansFound,
  type PassPosition,
  type ReserveDecision,
  readOutcome,
  refusalOf,
} from './outcomes.ts';
import { decodeReservation } from './reservation.ts';

export interface OrderRequest {
  readonly orderId: string;
  readonly buyerId: string;
  /** Units. */
  readonly quantity: number;
  readonly requestId: string;
  /** null = every request is an order of its own. */
  readonly idempotencyKey: string | null;
}

export interface BuyerBucketSettings {
  /** Tokens in a full bucket; 0 = no limit per buyer. */
  readonly capacity: number;
  /** Tokens a second. */
  readonly refillRate: number;
}

/** More orders than Redis could hold. */
const NO_BACKLOG_LIMIT = 2 ** 40;

export type Inventory = ReturnType<typeof createInventory>;

/** @param backlogLimit orders of one sale that may wait for the ledger at a time; none where nobody is admitted through this inventory */
export function createInventory({
  redis,
  keys,
  backlogLimit = NO_BACKLOG_LIMIT,
}: {
  redis: AnyRedis;
  keys: Keys;
  backlogLimit?: number;
}) {
  const run = defineScripts(redis);
  const invalidation = createInvalidations({ redis, keys });

  return {
    /**
     * Decides a batch of orders of one sale in the order given; outcomes come in the same order.
     *
     * @param permits orders that the global rate limiter lets through, −1 = no such limit
     * @returns how many permits were not used, too
     */
    async reserve(
      saleId: string,
      orders: readonly OrderRequest[],
      permits: number,
      bucket: BuyerBucketSettings,
    ): Promise<{ decisions: ReserveDecision[]; permitsLeft: number }> {
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.reservations, sale.buyers, sale.orderKeys, ...sale.buckets];
      const each = orders.map((order) => [
        order.orderId,
        order.quantity,
        order.requestId,
        order.buyerId,
        order.idempotencyKey ?? '',
      ]);
      const args = [
        permits,
        bucket.capacity,
        bucket.refillRate,
        BUYER_BUCKET_TTL_S,
        backlogLimit,
        JSON.stringify(each),
      ];
      const [word, ...rest] = await run('reserve', names, args);
      if (word === 'unknown_sale' || word === 'recovering') {
        return {
          decisions: orders.map(() => ({ outcome: { word }, tokensLeft: bucket.capacity, tokenInMs: 0 })),
          permitsLeft: permits,
        };
      }
      expectWord('reserve', word, 'decided');
      const [available, permitsLeft, reservedAt, epoch, decided] = rest;
      const shared = { available: Number(available), reservedAt: Number(reservedAt), epoch: Number(epoch) };
      const parts = String(decided).split(' ');
      const isLimited = bucket.capacity > 0;
      const decisions = orders.map((_, i) => {
        const thousandths = Number(parts[3 * i + 2]);
        return {
          outcome: readOutcome(parts[3 * i], parts[3 * i + 1], shared),
          tokensLeft: Math.floor(thousandths / 1_000),
          tokenInMs:
            isLimited && thousandths >= 0 && thousandths < 1_000
              ? Math.ceil((1_000 - thousandths) / bucket.refillRate)
              : 0,
        };
      });
      return { decisions, permitsLeft: Number(permitsLeft) };
    },

    /**
     * Units from reserved to sold, for orders that the ledger has. In another epoch nothing is done, and nothing need be: the inventory was, or
     * will be, rebuilt from the ledger's orders.
     *
     * @returns how many were still reserved
     */
    async commit(saleId: string, epoch: number, orderIds: readonly string[]): Promise<number> {
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.reservations, sale.claims, sale.redeliveries];
      let committed = 0;
      for (let at = 0; at < orderIds.length; at += COMMIT_BATCH_MAX) {
        const [word, orders] = await run('commit', names, [epoch, ...orderIds.slice(at, at + COMMIT_BATCH_MAX)]);
        if (expectWord('commit', word, 'committed', 'other_epoch') === 'other_epoch') break;
        committed += Number(orders);
      }
      return committed;
    },

    /** Units back to available, once; in another epoch as with commit. @returns how many orders still held some */
    async release(saleId: string, epoch: number, orderIds: readonly string[]): Promise<number> {
      if (orderIds.length === 0) return 0;
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.reservations, sale.claims, sale.redeliveries, sale.buyers];
      const [word, orders] = await run('release', names, [epoch, ...orderIds]);
      if (expectWord('release', word, 'released', 'other_epoch') === 'other_epoch') return 0;
      // Also where nothing was released: an earlier call may have done it whose answer was lost.
      invalidation.tell(saleId);
      return Number(orders);
    },

    /**
     * Units for orders of an earlier epoch, whose reservations Redis may have lost. Only where the ledger has none of them, and in the
     * epoch that was read with that, under the lock of the sale's row. It may come late: then it changes nothing that has ended.
     *
     * @returns why those that cannot have them are refused, by order id
     * @throws InventoryRecoveringError where the inventory is not open in the batch's epoch
     * @throws OrderEndedError where one of them has ended since the ledger was asked; what the others were given they keep
     */
    async readmit({ saleId, epoch, orders }: OrderBatch): Promise<ReadonlyMap<string, RejectionReason>> {
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.reservations, sale.buyers, sale.orderKeys, sale.earlierOrders];
      const args = orders.flatMap((order) => [
        order.id,
        order.quantity,
        order.reservedAt,
        order.requestId,
        order.buyerId,
        order.idempotencyKey ?? '',
      ]);
      const [word, ...words] = await run('readmit', names, [epoch, ...args]);
      if (expectWord('readmit', word, 'decided', 'other_epoch') === 'other_epoch')
        throw new InventoryRecoveringError(saleId);
      const refused = new Map<string, RejectionReason>();
      for (const [i, order] of orders.entries()) {
        if (words[i] === 'ended') throw new OrderEndedError(order.id);
        const reason = refusalOf(words[i]);
        if (reason) refused.set(order.id, reason);
      }
      return refused;
    },

    /**
     * The reservation of an order that the ledger need not know of yet.
     *
     * @returns null where there is none; 'recovering' where there is none and the inventory is closed, so that there may be one later
     */
    async findReservation(saleId: string, orderId: string): Promise<AcceptedOrder | 'recovering' | null> {
      const sale = keys.sale(saleId);
      const record = await redis.hget(sale.reservations, orderId);
      if (record !== null) return decodeReservation(orderId, record);
      const [word] = await run('read-sale', [sale.inventory], []);
      return expectWord('read-sale', word, 'numbers', 'recovering', 'unknown_sale') === 'numbers' ? null : 'recovering';
    },

    /** Those of the orders that hold units. */
    async reservedAmong(saleId: string, orderIds: readonly string[]): Promise<Set<string>> {
      if (orderIds.length === 0) return new Set();
      const records = await redis.hmget(keys.sale(saleId).reservations, ...orderIds);
      return new Set(orderIds.filter((_, i) => records[i] !== null));
    },

    /** Makes the inventory of a sale that never had one; one that exists stays as it is. @returns whether it was made */
    async open(sale: Sale): Promise<boolean> {
      const args = [
        sale.allotment,
        sale.startsAt,
        sale.endsAt,
        sale.perBuyerLimit,
        sale.paused ? 1 : 0,
        sale.version,
        sale.epoch,
      ];
      const [word] = await run('open-sale', [keys.sale(sale.id).inventory], args);
      return expectWord('open-sale', word, 'opened', 'exists') === 'opened';
    },

    /** Brings window and pause from the ledger; older versions change nothing. @returns false where the inventory is closed */
    async configure(sale: Sale): Promise<boolean> {
      const args = [sale.version, sale.paused ? 1 : 0, sale.startsAt, sale.endsAt];
      const [word] = await run('configure-sale', [keys.sale(sale.id).inventory], args);
      const known = expectWord('configure-sale', word, 'configured', 'current', 'recovering');
      if (known === 'configured') invalidation.tell(sale.id);
      return known !== 'recovering';
    },

    /** Adds (or, negative, withdraws) units; the same change id is decided once. `epoch` is the inventory's: only in it does its word hold. */
    async adjust(
      saleId: string,
      changeId: string,
      delta: number,
    ): Promise<{ word: 'applied' | 'refused'; available: number; epoch: number } | { word: 'recovering' }> {
      const sale = keys.sale(saleId);
      const [word, available, epoch] = await run(
        'adjust-stock',
        [sale.inventory, sale.stockChanges],
        [changeId, delta],
      );
      const known = expectWord('adjust-stock', word, 'applied', 'refused', 'recovering');
      if (known === 'recovering') return { word: known };
      if (known === 'applied' && delta > 0) invalidation.tell(saleId);
      return { word: known, available: Number(available), epoch: Number(epoch) };
    },

    /** The numbers at one instant and Redis' clock (ms since 1970); numbers are null where the inventory is missing or closed. */
    async read(saleId: string): Promise<{ now: number; numbers: StockNumbers | null; exists: boolean }> {
      const [word, now, ...numbers] = await run('read-sale', [keys.sale(saleId).inventory], []);
      const known = expectWord('read-sale', word, 'numbers', 'recovering', 'unknown_sale');
      if (known !== 'numbers') return { now: Number(now), numbers: null, exists: known === 'recovering' };
      const [allotment, available, reserved, sold] = numbers.map(Number) as [number, number, number, number];
      return { now: Number(now), numbers: { allotment, available, reserved, sold }, exists: true };
    },

    /** Whether the inventory can be trusted. @param epoch of the ledger's row */
    async check(saleId: string, epoch: number): Promise<InventoryCheck> {
      const sale = keys.sale(saleId);
      const [word, found] = await run('check-inventory', [sale.inventory, sale.reservations], [epoch]);
      return { condition: expectWord('check-inventory', word, ...inventoryConditions), epoch: Number(found) };
    },

    /**
     * Looks at some REAPER_LOOK reservations and takes those that stayed uncommitted for `ageMs`; nobody else gets them for as long again.
     * Records that cannot be read are named apart: one of them must not keep the others from being cared for. A closed inventory gives none.
     *
     * @param pauseMs after which a new pass may begin, at the latest
     * @param look how the pass goes on; null begins one, if it is time
     */
    async claimOrphans(
      saleId: string,
      { ageMs, pauseMs }: { ageMs: number; pauseMs: number },
      look: PassPosition | null,
    ): Promise<OrphansFound> {
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.reservations, sale.claims, sale.redeliveries];
      const { cursor, waitingSince } = look ?? { cursor: '0', waitingSince: '' };
      const args = [ageMs, pauseMs, REAPER_LOOK, cursor, waitingSince];
      const [word, epoch, nextCursor, waits, found] = await run('claim-orphans', names, args);
      if (expectWord('claim-orphans', word, 'claimed', 'recovering') === 'recovering')
        return { orphans: [], unreadable: [], epoch: 0, next: null };
      const orphans: Orphan[] = [];
      const unreadable: string[] = [];
      const records = found as unknown[];
      for (let i = 0; i < records.length; i += 3) {
        const order = decodeReservation(String(records[i]), String(records[i + 1]));
        if (order) orphans.push({ ...order, redeliveries: Number(records[i + 2]) });
        else unreadable.push(String(records[i]));
      }
      const next = nextCursor === '0' ? null : { cursor: String(nextCursor), waitingSince: String(waits) };
      return { orphans, unreadable, epoch: Number(epoch), next };
    },

    /** The orders' last worker lived to say what failed: they are not what ends workers, and are not given up for it. */
    async lowerRedeliveries(saleId: string, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      const [word] = await run('lower-redeliveries', [sale.reservations, sale.redeliveries], orderIds);
      expectWord('lower-redeliveries', word, 'lowered');
    },

    /** From now on the buyer's key leads to this order: the ledger has it under the key, and Redis had forgotten. */
    async pointKey(
      saleId: string,
      epoch: number,
      key: { buyerId: string; idempotencyKey: string },
      order: { id: string; quantity: number },
    ): Promise<void> {
      const sale = keys.sale(saleId);
      const args = [epoch, `${key.buyerId} ${key.idempotencyKey}`, `${order.id} ${order.quantity}`];
      const [word] = await run('point-key', [sale.inventory, sale.orderKeys], args);
      expectWord('point-key', word, 'pointed', 'other_epoch');
    },

    async countRedeliveries(saleId: string, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      const [word] = await run('count-redeliveries', [sale.reservations, sale.redeliveries], orderIds);
      expectWord('count-redeliveries', word, 'counted');
    },
  };
}
