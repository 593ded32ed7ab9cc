/**
 * The gate: who gets a unit is decided here, in Redis, by the scripts of lua/. This file calls them and reads their words.
 * Every method is one atomic step. A word that it does not know is a fault of ours and throws.
 */
import type { Redis } from 'ioredis';
import { BUYER_BUCKET_TTL_S } from '../limits.ts';
import type { AcceptedOrder } from '../orders/order.ts';
import type { Keys } from '../redis/keys.ts';
import { defineScripts } from '../redis/lua-script.ts';
import type { Sale, StockNumbers } from '../sales/sale.ts';
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

/** What the gate says of one order. Times are milliseconds from now. */
export type ReserveOutcome =
  | { readonly word: 'reserved'; readonly reservedAt: number; readonly available: number }
  /** The key has this order already. */
  | { readonly word: 'replayed'; readonly orderId: string; readonly available: number }
  /** The key has an order of another quantity. */
  | { readonly word: 'key_reused' }
  | { readonly word: 'buyer_limited'; readonly waitMs: number }
  | { readonly word: 'system_limited' }
  | { readonly word: 'not_open'; readonly waitMs: number }
  | { readonly word: 'paused' | 'ended' | 'sold_out' | 'unknown_sale' }
  | { readonly word: 'not_enough_units'; readonly available: number }
  | { readonly word: 'over_buyer_limit'; readonly holds: number };

/** An outcome, and the whole tokens that are left in the buyer's bucket; −1 where it was not looked at. */
export interface ReserveDecision {
  readonly outcome: ReserveOutcome;
  readonly tokensLeft: number;
}

export interface BuyerBucketSettings {
  /** Tokens in a full bucket; 0 = no limit per buyer. */
  readonly capacity: number;
  /** Tokens a second. */
  readonly refillRate: number;
}

export interface Strand extends AcceptedOrder {
  /** Times that the sweep has handed it over already. */
  readonly handOvers: number;
}

export type StockGate = ReturnType<typeof createStockGate>;

export function createStockGate({ redis, keys }: { redis: Redis; keys: Keys }) {
  const run = defineScripts(redis);

  return {
    /**
     * Decides a batch of orders of one sale in the order given; outcomes come in the same order.
     *
     * @param permits orders that the system-wide window lets through, −1 = no such limit
     * @returns how many permits were not used, too
     */
    async reserve(
      saleId: string,
      orders: readonly OrderRequest[],
      permits: number,
      bucket: BuyerBucketSettings,
    ): Promise<{ decisions: ReserveDecision[]; permitsLeft: number }> {
      const sale = keys.sale(saleId);
      const names = [sale.gate, sale.reservations, sale.unsettled, sale.buyers, sale.orderKeys];
      const args: (string | number)[] = [permits, bucket.capacity, bucket.refillRate, BUYER_BUCKET_TTL_S];
      for (const order of orders) {
        names.push(sale.bucket(order.buyerId));
        args.push(order.orderId, order.quantity, order.requestId, order.buyerId, order.idempotencyKey ?? '');
      }
      const [word, ...rest] = await run('reserve', names, args);
      if (word === 'unknown_sale') {
        return {
          decisions: orders.map(() => ({ outcome: { word }, tokensLeft: bucket.capacity })),
          permitsLeft: permits,
        };
      }
      expectWord('reserve', word, 'decided');
      const [available, permitsLeft, reservedAt, ...each] = rest;
      const decisions = orders.map((_, i) => ({
        outcome: readOutcome(each[3 * i], each[3 * i + 1], Number(available), Number(reservedAt)),
        tokensLeft: Number(each[3 * i + 2]),
      }));
      return { decisions, permitsLeft: Number(permitsLeft) };
    },

    /** Units from reserved to sold, for orders that the ledger has. @returns how many were still reserved */
    async settle(saleId: string, orderIds: readonly string[]): Promise<number> {
      if (orderIds.length === 0) return 0;
      const sale = keys.sale(saleId);
      const [word, orders] = await run(
        'settle',
        [sale.gate, sale.reservations, sale.unsettled, sale.handOvers],
        orderIds,
      );
      if (word === 'unknown_sale') return 0;
      expectWord('settle', word, 'settled');
      return Number(orders);
    },

    /** Units back to available, once. @returns how many orders still held some */
    async release(saleId: string, orderIds: readonly string[]): Promise<number> {
      if (orderIds.length === 0) return 0;
      const sale = keys.sale(saleId);
      const names = [sale.gate, sale.reservations, sale.unsettled, sale.handOvers, sale.buyers];
      const [word, orders] = await run('release', names, orderIds);
      if (word === 'unknown_sale') return 0;
      expectWord('release', word, 'released');
      return Number(orders);
    },

    /** The reservation of an order that the ledger need not know of yet; null where there is none. */
    async findReservation(saleId: string, orderId: string): Promise<AcceptedOrder | null> {
      const record = await redis.hget(keys.sale(saleId).reservations, orderId);
      return record === null ? null : decodeReservation(orderId, record);
    },

    /** Makes the gate of a sale that never had one; one that exists stays as it is. @returns whether it was made */
    async open(sale: Sale): Promise<boolean> {
      const args = [sale.allotment, sale.startsAt, sale.endsAt, sale.perBuyerLimit, sale.paused ? 1 : 0, sale.version];
      const [word] = await run('open-sale', [keys.sale(sale.id).gate], args);
      return expectWord('open-sale', word, 'opened', 'exists') === 'opened';
    },

    /** Brings window and pause from the ledger; older versions change nothing. @returns false where the gate is missing */
    async configure(sale: Sale): Promise<boolean> {
      const args = [sale.version, sale.paused ? 1 : 0, sale.startsAt, sale.endsAt];
      const [word] = await run('configure-sale', [keys.sale(sale.id).gate], args);
      return expectWord('configure-sale', word, 'configured', 'current', 'unknown_sale') !== 'unknown_sale';
    },

    /** Adds (or, negative, withdraws) units; the same change id is decided once. */
    async adjust(
      saleId: string,
      changeId: string,
      delta: number,
    ): Promise<{ word: 'applied' | 'refused'; available: number } | { word: 'unknown_sale' }> {
      const sale = keys.sale(saleId);
      const [word, available] = await run('adjust-stock', [sale.gate, sale.stockChanges], [changeId, delta]);
      const known = expectWord('adjust-stock', word, 'applied', 'refused', 'unknown_sale');
      return known === 'unknown_sale' ? { word: known } : { word: known, available: Number(available) };
    },

    /** The numbers at one instant and Redis' clock (ms since 1970); numbers are null where the gate is missing. */
    async read(saleId: string): Promise<{ now: number; numbers: StockNumbers | null }> {
      const [word, now, ...numbers] = await run('read-sale', [keys.sale(saleId).gate], []);
      if (expectWord('read-sale', word, 'numbers', 'unknown_sale') === 'unknown_sale') {
        return { now: Number(now), numbers: null };
      }
      const [allotment, available, reserved, sold] = numbers.map(Number) as [number, number, number, number];
      return { now: Number(now), numbers: { allotment, available, reserved, sold } };
    },

    /**
     * Takes up to `limit` reservations that stayed unsettled for `ageMs`; nobody else gets them for as long again.
     * Records that cannot be read are named apart: one of them must not keep the others from being cared for.
     */
    async claimStrands(
      saleId: string,
      ageMs: number,
      limit: number,
    ): Promise<{ strands: Strand[]; unreadable: string[] }> {
      const sale = keys.sale(saleId);
      const [word, ...rest] = await run(
        'claim-strands',
        [sale.unsettled, sale.reservations, sale.handOvers],
        [ageMs, limit],
      );
      expectWord('claim-strands', word, 'claimed');
      const strands: Strand[] = [];
      const unreadable: string[] = [];
      for (let i = 0; i < rest.length; i += 3) {
        const order = decodeReservation(String(rest[i]), String(rest[i + 1]));
        if (order) strands.push({ ...order, handOvers: Number(rest[i + 2]) });
        else unreadable.push(String(rest[i]));
      }
      return { strands, unreadable };
    },

    /** The orders' last worker lived to say what failed: they are not what ends workers, and are not given up for it. */
    async lowerHandOvers(saleId: string, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      const [word] = await run('lower-hand-overs', [sale.reservations, sale.handOvers], orderIds);
      expectWord('lower-hand-overs', word, 'lowered');
    },

    /** From now on the buyer's key leads to this order: the ledger has it under the key, and Redis had forgotten. */
    async pointKey(
      saleId: string,
      buyerId: string,
      idempotencyKey: string,
      orderId: string,
      quantity: number,
    ): Promise<void> {
      await redis.hset(keys.sale(saleId).orderKeys, `${buyerId} ${idempotencyKey}`, `${orderId} ${quantity}`);
    },

    async countHandOvers(saleId: string, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      const [word] = await run('count-hand-overs', [sale.reservations, sale.handOvers], orderIds);
      expectWord('count-hand-overs', word, 'counted');
    },
  };
}

function readOutcome(word: unknown, value: unknown, available: number, reservedAt: number): ReserveOutcome {
  const number = Number(value);
  switch (word) {
    case 'reserved':
      return { word, reservedAt, available };
    case 'replayed':
      return { word, orderId: String(value), available };
    case 'key_reused':
      return { word };
    case 'buyer_limited':
    case 'not_open':
      return { word, waitMs: number };
    case 'system_limited':
    case 'paused':
    case 'ended':
    case 'sold_out':
      return { word };
    case 'not_enough_units':
      return { word, available: number };
    case 'over_buyer_limit':
      return { word, holds: number };
    default:
      throw new Error(`lua/reserve.lua answered with a word that the gate does not know: ${String(word)}`);
  }
}

function expectWord<Word extends string>(script: string, found: unknown, ...known: Word[]): Word {
  if (known.includes(found as Word)) return found as Word;
  throw new Error(`lua/${script}.lua answered with a word that the gate does not know: ${String(found)}`);
}
