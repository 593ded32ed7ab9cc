/**
 * Repeats refusals that are still valid from process memory, without a round trip to Redis.
 *   Per sale:   sold out, ended, paused, not open. Dropped when the sale is invalidated.
 *   Per buyer:  no token left in the event's bucket, until the next one is due.
 *   Global:     the global rate limit is reached, until the next permit.
 * A refusal is fresh for at most REFUSAL_CACHE_MS from the call of the inventory. When it is stale,
 * one request revalidates it while the others still get it (stale-while-revalidate).
 * Requests with an idempotency key bypass the cache: they may be retries of an accepted order.
 */

import { eventOf } from '@flash-sale/core/domain/sale.ts';
import type { ReserveDecision, ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { LRUCache } from 'lru-cache';
import { SALE_MEMORY_MAX } from '../sales/read-sales.ts';
import type { DecidedBatch } from './reserve-batcher.ts';

/**
 * Together with a round trip this is below the promised second, even if an invalidation is lost.
 */
export const REFUSAL_CACHE_MS = 400;
/** Milliseconds that a process without permits refuses orders without a call to Redis. */
const SYSTEM_LIMITED_MS = 50;
/** Milliseconds that the other requests still get a stale refusal while one revalidates it. */
export const REFUSAL_REVALIDATE_MS = 20;
/** Milliseconds that a stale refusal is used at most, even if Redis does not answer. */
export const REFUSAL_STALE_MS = 100;
/** Throttled buyers in the memory of one process: about 10 MB. */
export const THROTTLED_BUYERS_MAX = 40_000;

type CachedKind = 'sold_out' | 'ended' | 'paused' | 'not_open' | 'buyer_limited' | 'system_limited';

export type CachedRefusal = ReserveOutcome & { readonly kind: CachedKind };

/** Times are ms of performance.now(). */
interface Entry {
  readonly kind: CachedKind;
  readonly freshUntil: number;
  /** When the refusal can end by itself: the sale opens, or a token or permit is due. */
  readonly endsAt: number;
  readonly staleUntil: number;
  readonly revalidateMs: number;
  /** Milliseconds after which one more request may revalidate: the buyer's next token is due. */
  readonly passEveryMs: number;
  revalidatingUntil: number;
  revalidations: number;
}

export type RefusalCache = ReturnType<typeof createRefusalCache>;

/**
 * @param tokenMs milliseconds between two tokens of a buyer
 * @param now ms of a monotonic clock
 */
export function createRefusalCache(tokenMs: number, now: () => number = () => performance.now()) {
  const ofSales = new LRUCache<string, Entry>({ max: SALE_MEMORY_MAX });
  const ofBuyers = createThrottledBuyers();
  let ofAll: Entry | undefined;
  /** Last invalidation of a sale: decisions requested before it are not cached. */
  const invalidatedAt = new LRUCache<string, number>({ max: SALE_MEMORY_MAX });
  let allInvalidatedAt = Number.NEGATIVE_INFINITY;

  function holds(entry: Entry | undefined, at: number): entry is Entry {
    if (!entry) return false;
    if (at < entry.freshUntil) return true;
    if (at >= entry.revalidatingUntil || at >= entry.staleUntil) return false;
    // Let one request through per refilled token.
    return entry.revalidations >= 1 + Math.floor((at - entry.freshUntil) / entry.passEveryMs);
  }

  /** Marks the entry: the current request goes to Redis and revalidates it. */
  function revalidate(entry: Entry | undefined, at: number): void {
    if (!entry) return;
    entry.revalidatingUntil = at + entry.revalidateMs;
    entry.revalidations += 1;
  }

  function answer({ kind, endsAt }: Entry, at: number): { outcome: CachedRefusal; waitMs: number } {
    const waitMs = Math.max(1, Math.ceil(endsAt - at));
    return { outcome: kind === 'not_open' || kind === 'buyer_limited' ? { kind, waitMs } : { kind }, waitMs };
  }

  function entryOf(kind: CachedKind, waitMs: number, askedAt: number): Entry {
    const freshMs = Math.min(waitMs, kind === 'system_limited' ? SYSTEM_LIMITED_MS : REFUSAL_CACHE_MS);
    // When a sale opens, or permits come free, everybody may pass.
    const opensForAll = kind === 'not_open' || kind === 'system_limited';
    const freshUntil = askedAt + freshMs;
    return {
      kind,
      freshUntil,
      endsAt: askedAt + waitMs,
      staleUntil: freshUntil + REFUSAL_STALE_MS,
      revalidateMs: opensForAll ? 0 : REFUSAL_REVALIDATE_MS,
      passEveryMs: kind === 'buyer_limited' ? tokenMs : Number.POSITIVE_INFINITY,
      revalidatingUntil: freshUntil,
      revalidations: 0,
    };
  }

  function learnOfBuyer(saleId: string, buyerId: string, decision: ReserveDecision, askedAt: number): void {
    const { tokensLeft, tokenInMs } = decision;
    if (tokenInMs > 0) ofBuyers.set(keyOf(saleId, buyerId), entryOf('buyer_limited', tokenInMs, askedAt));
    // Usually nobody is throttled, and then no order pays for the key.
    else if (tokensLeft > 0 && !ofBuyers.isEmpty(now())) ofBuyers.delete(keyOf(saleId, buyerId));
  }

  function learnOfSale(saleId: string, outcome: ReserveOutcome, askedAt: number): void {
    switch (outcome.kind) {
      case 'reserved':
        if (outcome.available === 0) ofSales.set(saleId, entryOf('sold_out', REFUSAL_CACHE_MS, askedAt));
        break;
      case 'sold_out':
      case 'ended':
      case 'paused':
        ofSales.set(saleId, entryOf(outcome.kind, REFUSAL_CACHE_MS, askedAt));
        break;
      case 'not_open':
        ofSales.set(saleId, entryOf('not_open', outcome.waitMs, askedAt));
    }
  }

  return {
    /**
     * @returns null if the inventory must decide; `waitMs`: ms until the refusal can end by itself
     */
    find(saleId: string, buyerId: string): { outcome: CachedRefusal; waitMs: number } | null {
      const at = now();
      const ofSale = ofSales.get(saleId);
      if (holds(ofSale, at)) return answer(ofSale, at);
      const ofBuyer = !ofBuyers.isEmpty(at) ? ofBuyers.get(keyOf(saleId, buyerId)) : undefined;
      if (holds(ofBuyer, at)) return answer(ofBuyer, at);
      if (holds(ofAll, at)) return answer(ofAll, at);
      for (const entry of [ofSale, ofBuyer, ofAll]) revalidate(entry, at);
      return null;
    },

    learn({ saleId, requests, decisions, permits, askedAt }: Omit<DecidedBatch, 'isRecorded'>): void {
      const isCurrent = Math.max(invalidatedAt.get(saleId) ?? Number.NEGATIVE_INFINITY, allInvalidatedAt) < askedAt;
      decisions.forEach((decision, i) => {
        learnOfBuyer(saleId, requests[i]?.buyerId ?? '', decision, askedAt);
        if (isCurrent) learnOfSale(saleId, decision.outcome, askedAt);
        if (decision.outcome.kind === 'system_limited') ofAll = entryOf('system_limited', permits.waitMs, askedAt);
      });
    },

    /** @param saleId null: invalidations of any sale may have been missed */
    invalidate(saleId: string | null): void {
      if (saleId === null) {
        ofSales.clear();
        ofAll = undefined;
        allInvalidatedAt = now();
      } else {
        ofSales.delete(saleId);
        invalidatedAt.set(saleId, now());
      }
    },
  };
}

/**
 * Two maps: once the newer one is full, the older one is dropped. An LRU cache costs 0.5 µs more;
 * one map from which the oldest is removed searches for it.
 */
function createThrottledBuyers() {
  let newer = new Map<string, Entry>();
  let older = new Map<string, Entry>();
  /** From when on no entry can be used: ms of performance.now(). */
  let endsAt = Number.NEGATIVE_INFINITY;
  return {
    isEmpty: (at: number): boolean => at >= endsAt,
    get: (key: string): Entry | undefined => newer.get(key) ?? older.get(key),
    set(key: string, entry: Entry): void {
      newer.set(key, entry);
      endsAt = Math.max(endsAt, entry.staleUntil);
      if (newer.size < THROTTLED_BUYERS_MAX / 2) return;
      older = newer;
      newer = new Map();
    },
    delete(key: string): void {
      newer.delete(key);
      older.delete(key);
    },
  };
}

function keyOf(saleId: string, buyerId: string): string {
  return `${eventOf(saleId)} ${buyerId}`;
}
