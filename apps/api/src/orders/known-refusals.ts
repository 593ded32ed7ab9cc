/**
 * Refusals that hold for this moment, kept in process memory: the crowd that is told them costs no round trip to Redis.
 *   Of a sale:   sold out, ended, paused, not open yet. Told to everybody for KNOWN_REFUSAL_MS at most, and forgotten the moment there is
 *                news of the sale (core/redis/sale-news.ts).
 *   Of a buyer:  he asks too often. Until his next token.
 *   Of all:      the system's window is full. Until its next permit.
 * Whoever sends an idempotency key is never answered from here: he may repeat the request that won.
 */
import { KNOWN_LIMITED_BUYERS_MAX, KNOWN_REFUSAL_MS, SALE_MEMORY_MAX } from '@flash-sale/core/limits.ts';
import type { ReserveOutcome } from '@flash-sale/core/stock/gate-words.ts';
import { LRUCache } from 'lru-cache';
import type { DecidedBatch } from './admission-desk.ts';

type KnownWord = 'sold_out' | 'ended' | 'paused' | 'not_open' | 'buyer_limited' | 'system_limited';

export type KnownRefusal = ReserveOutcome & { readonly word: KnownWord };

interface Remembered {
  readonly word: KnownWord;
  /** ms of the process's clock until which it is told. */
  readonly until: number;
  /** ms of the process's clock at which it may end by itself. */
  readonly endsAt: number;
}

export type KnownRefusals = ReturnType<typeof createKnownRefusals>;

/** @param now ms of a clock that only goes forward */
export function createKnownRefusals(now: () => number = () => performance.now()) {
  const ofSales = new Map<string, Remembered>();
  /** By sale and buyer, in the order of learning: the first are thrown away where there are too many. */
  const ofBuyers = new Map<string, Remembered>();
  let ofAll: Remembered | null = null;
  /** When there was news of a sale: what was asked before that may be over. */
  const news = new LRUCache<string, number>({ max: SALE_MEMORY_MAX });
  let missedAt = Number.NEGATIVE_INFINITY;

  const buyerOf = (saleId: string, buyerId: string): string => `${saleId} ${buyerId}`;

  function told(known: Remembered | null | undefined, at: number): { outcome: KnownRefusal; waitMs: number } | null {
    if (!known || known.until <= at) return null;
    const waitMs = Math.ceil(known.endsAt - at);
    const { word } = known;
    return { outcome: word === 'not_open' || word === 'buyer_limited' ? { word, waitMs } : { word }, waitMs };
  }

  function remember(word: KnownWord, waitMs: number): Remembered {
    const at = now();
    return { word, until: at + Math.min(waitMs, KNOWN_REFUSAL_MS), endsAt: at + waitMs };
  }

  function learnOfSale(saleId: string, word: KnownWord, waitMs: number): void {
    if (ofSales.size >= SALE_MEMORY_MAX) ofSales.clear();
    ofSales.set(saleId, remember(word, waitMs));
  }

  function learnOfBuyer(saleId: string, buyerId: string, waitMs: number): void {
    const name = buyerOf(saleId, buyerId);
    // To the end of the row, where the young are.
    ofBuyers.delete(name);
    ofBuyers.set(name, remember('buyer_limited', waitMs));
    if (ofBuyers.size <= KNOWN_LIMITED_BUYERS_MAX) return;
    const [oldest] = ofBuyers.keys();
    if (oldest !== undefined) ofBuyers.delete(oldest);
  }

  return {
    /** @returns null where the gate must be asked; `waitMs`: when the refusal may end by itself */
    of(saleId: string, buyerId: string): { outcome: KnownRefusal; waitMs: number } | null {
      const at = now();
      const ofSale = told(ofSales.get(saleId), at);
      if (ofSale) return ofSale;
      // Nearly always empty, and then a crowd of buyers costs no names.
      if (ofBuyers.size > 0) {
        const name = buyerOf(saleId, buyerId);
        const known = ofBuyers.get(name);
        const ofBuyer = told(known, at);
        if (ofBuyer) return ofBuyer;
        if (known) ofBuyers.delete(name);
      }
      return told(ofAll, at);
    },

    /** @param askedAt when the gate was asked, by the same clock */
    learn({ saleId, requests, decisions, system, askedAt }: DecidedBatch): void {
      const isOfNow = Math.max(news.get(saleId) ?? Number.NEGATIVE_INFINITY, missedAt) < askedAt;
      for (let i = 0; i < decisions.length; i++) {
        const outcome = decisions[i]?.outcome as ReserveOutcome;
        switch (outcome.word) {
          case 'reserved':
            if (outcome.available === 0 && isOfNow) learnOfSale(saleId, 'sold_out', KNOWN_REFUSAL_MS);
            break;
          case 'sold_out':
          case 'ended':
          case 'paused':
            if (isOfNow) learnOfSale(saleId, outcome.word, KNOWN_REFUSAL_MS);
            break;
          case 'not_open':
            if (isOfNow) learnOfSale(saleId, 'not_open', outcome.waitMs);
            break;
          case 'buyer_limited':
            learnOfBuyer(saleId, requests[i]?.buyerId as string, outcome.waitMs);
            break;
          case 'system_limited':
            ofAll = remember('system_limited', system.waitMs);
            break;
        }
      }
    },

    /** There is news of the sale; null: news may have been missed, of any. */
    forget(saleId: string | null): void {
      if (saleId === null) {
        ofSales.clear();
        missedAt = now();
      } else {
        ofSales.delete(saleId);
        news.set(saleId, now());
      }
    },
  };
}
