/**
 * Refusals that hold for this moment, kept in process memory: the crowd that is told them costs no round trip to Redis.
 *   Of a sale:   sold out, ended, paused, not open yet. Told to everybody for REFUSAL_CACHE_MS at most, and forgotten the moment there is
 *                invalidation of the sale (core/redis/invalidations.ts).
 *   Of a buyer:  he asks too often. Until his next token, and for REFUSAL_CACHE_MS at most; known from the order that took his last one.
 *   Of all:      the system's window is full. Until its next permit, and for RATE_LIMIT_LEASE_MS at most: others may give theirs back.
 * Each time counts from when the inventory was asked, so that a late event loop makes none longer. When it is over, one request goes to see, and
 * the others are told the same for the moment that this takes, REFUSAL_CACHE_LOOKS_MS at most: a crowd would only be told it by the inventory.
 * Whoever sends an idempotency key is never answered from here: he may repeat the request that won.
 */
import {
  RATE_LIMIT_LEASE_MS,
  REFUSAL_CACHE_LOOK_MS,
  REFUSAL_CACHE_LOOKS_MS,
  REFUSAL_CACHE_MS,
  SALE_MEMORY_MAX,
  THROTTLED_BUYERS_MAX,
} from '@flash-sale/core/config/limits.ts';
import type { ReserveDecision, ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { LRUCache } from 'lru-cache';
import type { DecidedBatch } from './reserve-batcher.ts';
import { createThrottledBuyers, type LastToken } from './throttled-buyers.ts';

type KnownWord = 'sold_out' | 'ended' | 'paused' | 'not_open' | 'buyer_limited' | 'system_limited';

export type CachedRefusal = ReserveOutcome & { readonly word: KnownWord };

interface Remembered {
  readonly word: KnownWord;
  /** ms of the process's clock until which it is told. */
  readonly until: number;
  /** ms of the process's clock at which it may end by itself. */
  readonly endsAt: number;
  /** ms for which it is still told while somebody goes to see. */
  readonly lookMs: number;
  /** ms of the process's clock from which on nobody is told it, whether or not somebody has gone to see. */
  readonly goneAt: number;
  /** ms in which what it says is missing comes once more: a buyer's tokens. */
  readonly eachMs: number;
  /** Until when somebody has gone to see. */
  lookUntil: number;
  /** How many have gone to see. */
  looks: number;
}

export type RefusalCache = ReturnType<typeof createRefusalCache>;

/**
 * @param tokenMs ms in which a buyer's next token comes
 * @param now ms of a clock that only goes forward
 */
export function createRefusalCache(tokenMs: number, now: () => number = () => performance.now()) {
  const ofSales = new Map<string, Remembered>();
  const ofBuyers = createThrottledBuyers<Remembered>(REFUSAL_CACHE_MS + REFUSAL_CACHE_LOOKS_MS, THROTTLED_BUYERS_MAX);
  let ofAll: Remembered | null = null;
  /** When there was invalidation of a sale: what was asked before that may be over. */
  const invalidation = new LRUCache<string, number>({ max: SALE_MEMORY_MAX });
  let missedAt = Number.NEGATIVE_INFINITY;

  function holds(known: Remembered | null | undefined, at: number): known is Remembered {
    if (!known) return false;
    if (known.until > at) return true;
    if (known.lookUntil <= at || known.goneAt <= at) return false;
    // Each token that has come meanwhile is for one who goes to see, so that nobody is told no who would get it.
    return known.looks >= 1 + Math.floor((at - known.until) / known.eachMs);
  }
  /** This request goes to see, for all that it is not told. */
  function sendToSee(known: Remembered | null | undefined, at: number): void {
    if (!known) return;
    known.lookUntil = at + known.lookMs;
    known.looks += 1;
  }

  function say({ word, endsAt }: Remembered, at: number): { outcome: CachedRefusal; waitMs: number } {
    const waitMs = Math.max(1, Math.ceil(endsAt - at));
    return { outcome: word === 'not_open' || word === 'buyer_limited' ? { word, waitMs } : { word }, waitMs };
  }

  function remember(word: KnownWord, waitMs: number, askedAt: number): Remembered {
    const mostMs = word === 'system_limited' ? RATE_LIMIT_LEASE_MS : REFUSAL_CACHE_MS;
    // As a sale opens, or the system's window, everybody is let through.
    const opens = word === 'not_open' || word === 'system_limited';
    const lookMs = opens ? 0 : REFUSAL_CACHE_LOOK_MS;
    const until = askedAt + Math.min(waitMs, mostMs);
    const goneAt = until + REFUSAL_CACHE_LOOKS_MS;
    const eachMs = word === 'buyer_limited' ? tokenMs : Number.POSITIVE_INFINITY;
    return { word, until, endsAt: askedAt + waitMs, lookMs, goneAt, eachMs, lookUntil: until, looks: 0 };
  }

  const recall = (known: LastToken | Remembered | undefined): Remembered | undefined =>
    known === undefined || 'word' in known ? known : remember('buyer_limited', known.waitMs, known.askedAt);

  function learnOfSale(saleId: string, known: Remembered): void {
    if (ofSales.size >= SALE_MEMORY_MAX) ofSales.clear();
    ofSales.set(saleId, known);
  }

  return {
    /** @returns null where the inventory must be asked; `waitMs`: when the refusal may end by itself */
    of(saleId: string, buyerId: string): { outcome: CachedRefusal; waitMs: number } | null {
      const at = now();
      const ofSale = ofSales.get(saleId);
      if (holds(ofSale, at)) return say(ofSale, at);
      const ofBuyer = recall(ofBuyers.get(saleId, buyerId));
      if (holds(ofBuyer, at)) return say(ofBuyer, at);
      if (holds(ofAll, at)) return say(ofAll, at);
      sendToSee(ofSale, at);
      sendToSee(ofAll, at);
      if (ofBuyer) {
        sendToSee(ofBuyer, at);
        ofBuyers.keep(saleId, buyerId, ofBuyer);
      }
      return null;
    },

    /** @param askedAt when the inventory was asked, by the same clock */
    learn({ saleId, requests, decisions, system, askedAt }: DecidedBatch): void {
      const isOfNow = Math.max(invalidation.get(saleId) ?? Number.NEGATIVE_INFINITY, missedAt) < askedAt;
      for (let i = 0; i < decisions.length; i++) {
        const { outcome, tokensLeft, tokenInMs } = decisions[i] as ReserveDecision;
        const { buyerId } = requests[i] as DecidedBatch['requests'][0];
        if (tokenInMs > 0) ofBuyers.add(saleId, buyerId, { askedAt, waitMs: tokenInMs });
        // He is not limited any more: all of his tokens are to be had.
        else if (tokensLeft > 0) ofBuyers.delete(saleId, buyerId);
        switch (outcome.word) {
          case 'reserved':
            if (outcome.available === 0 && isOfNow)
              learnOfSale(saleId, remember('sold_out', REFUSAL_CACHE_MS, askedAt));
            break;
          case 'sold_out':
          case 'ended':
          case 'paused':
            if (isOfNow) learnOfSale(saleId, remember(outcome.word, REFUSAL_CACHE_MS, askedAt));
            break;
          case 'not_open':
            if (isOfNow) learnOfSale(saleId, remember('not_open', outcome.waitMs, askedAt));
            break;
          case 'system_limited':
            ofAll = remember('system_limited', system.waitMs, askedAt);
            break;
        }
      }
    },

    /** There is invalidation of the sale; null: invalidation may have been missed, of any. */
    forget(saleId: string | null): void {
      if (saleId === null) {
        ofSales.clear();
        missedAt = now();
      } else {
        ofSales.delete(saleId);
        invalidation.set(saleId, now());
      }
    },
  };
}
