/** The refusal cache: what it keeps, how long, and which request revalidates. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  createRefusalCache,
  REFUSAL_CACHE_MS,
  REFUSAL_REVALIDATE_MS,
  REFUSAL_STALE_MS,
  THROTTLED_BUYERS_MAX,
} from '@flash-sale/api/orders/refusal-cache.ts';
import type { ReserveDecision, ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { expect, test } from 'vitest';
import { orderRequest } from '../support/sales.ts';

/** In which a token is refilled: 20 a second. */
const TOKEN_MS = 50;
const SOLD_OUT: ReserveOutcome = { kind: 'sold_out' };
const ACCEPTED: ReserveOutcome = { kind: 'reserved', reservedAt: 1, available: 5, epoch: 1 };
const throttled = (waitMs: number): ReserveOutcome => ({ kind: 'buyer_limited', waitMs });
const decisionOf = (outcome: ReserveOutcome): ReserveDecision =>
  outcome.kind === 'buyer_limited'
    ? { outcome, tokensLeft: 0, tokenInMs: outcome.waitMs }
    : { outcome, tokensLeft: 1, tokenInMs: 0 };

/** A cache with a clock that the test sets. */
function open(at = 0, tokenMs = TOKEN_MS) {
  const clock = { at };
  const cache = createRefusalCache(tokenMs, () => clock.at);
  const permits = { granted: 1, slot: 0, remaining: 0, waitMs: 300 };
  function learn(
    saleId: string,
    buyerId: string,
    decision: ReserveDecision | ReserveOutcome,
    askedAt = clock.at,
  ): void {
    const decisions = ['outcome' in decision ? decision : decisionOf(decision)];
    cache.learn({ saleId, permits, askedAt, requests: [orderRequest(saleId, buyerId)], decisions });
  }
  /** What so many requests in a row are refused with; null goes to Redis. */
  const kinds = (saleId: string, buyerId: string, count = 2) =>
    Array.from({ length: count }, () => cache.find(saleId, buyerId)?.outcome.kind ?? null);
  const waitMs = (saleId: string, buyerId: string) => cache.find(saleId, buyerId)?.waitMs;
  return { clock, cache, learn, kinds, waitMs };
}

test('the reply to a request from before an invalidation is not cached', () => {
  const { clock, cache, learn, kinds } = open(10);
  cache.invalidate('s');
  clock.at = 20;
  learn('s', 'ann', SOLD_OUT, 5);
  expect(kinds('s', 'b', 1)).toEqual([null]);
  learn('s', 'ann', SOLD_OUT, 15);
  expect(kinds('s', 'b', 1)).toEqual(['sold_out']);
  cache.invalidate(null);
  expect(kinds('s', 'b', 1)).toEqual([null]);
});

test('each refusal expires in its own time', () => {
  const { clock, cache, learn, kinds, waitMs } = open();
  learn('s', 'ann', throttled(50));
  learn('t', 'ann', { kind: 'system_limited' });
  expect(cache.find('s', 'ann')).toEqual({ outcome: throttled(50), waitMs: 50 });
  expect(cache.find('s', 'bob')).toEqual({ outcome: { kind: 'system_limited' }, waitMs: 300 });
  clock.at = 49;
  expect(kinds('s', 'bob', 1)).toEqual(['system_limited']);
  clock.at = 50;
  expect([kinds('s', 'ann', 1), kinds('s', 'bob', 1)]).toEqual([[null], [null]]);
  learn('s', 'ann', { kind: 'not_open', waitMs: 5_000 });
  expect(waitMs('s', 'bob')).toBe(5_000);
  clock.at = 450;
  expect(kinds('s', 'bob')).toEqual([null, null]);
});

test.each([
  ['a sale', SOLD_OUT, REFUSAL_CACHE_MS],
  ['a buyer', throttled(50), 50],
])('an expired refusal of %s is revalidated by one request, while the others still get it', (_of, refusal, over) => {
  const { clock, learn, kinds, waitMs } = open();
  learn('s', 'ann', refusal);
  const { kind } = refusal;
  clock.at = over;
  expect([kinds('s', 'ann', 1), waitMs('s', 'ann')]).toEqual([[null], 1]);
  clock.at = over + REFUSAL_REVALIDATE_MS - 1;
  expect(kinds('s', 'ann', 1)).toEqual([kind]);
  // The revalidation is not answered: the next request revalidates.
  clock.at = over + REFUSAL_REVALIDATE_MS;
  expect(kinds('s', 'ann')).toEqual([null, kind]);
  // None is answered: the refusal may be outdated, and every request goes to Redis.
  clock.at = over + REFUSAL_STALE_MS;
  expect(kinds('s', 'ann')).toEqual([null, null]);
});

test('the order that takes the last token throttles its buyer; a replay does not', () => {
  const { clock, cache, learn, kinds } = open();
  learn('s', 'ann', { outcome: ACCEPTED, tokensLeft: 0, tokenInMs: 50 });
  const replayed: ReserveOutcome = { kind: 'replayed', orderId: 'o', available: 5 };
  learn('s', 'ann', { outcome: replayed, tokensLeft: -1, tokenInMs: 0 });
  expect(cache.find('s', 'ann')).toEqual({ outcome: throttled(50), waitMs: 50 });
  // One refilled token lets one request through; each further token another one.
  for (const at of [99, 100]) {
    clock.at = at;
    expect(kinds('s', 'ann')).toEqual([null, 'buyer_limited']);
  }
  clock.at = 50 + REFUSAL_STALE_MS;
  expect(kinds('s', 'ann')).toEqual([null, null]);
});

test('a throttled buyer with two refilled tokens gets both', () => {
  const { clock, learn, kinds } = open();
  learn('s', 'ann', throttled(50));
  clock.at = 120;
  expect(kinds('s', 'ann', 3)).toEqual([null, null, 'buyer_limited']);
});

test('another refusal of the same sale does not count as a revalidation', () => {
  const { clock, learn, kinds } = open();
  learn('s', 'ann', SOLD_OUT);
  clock.at = REFUSAL_CACHE_MS - 10;
  learn('s', 'ann', throttled(200));
  clock.at = REFUSAL_CACHE_MS;
  expect([kinds('s', 'ann', 1), kinds('s', 'bob')]).toEqual([['buyer_limited'], [null, 'sold_out']]);
});

test('tokens that refill faster than a reply throttle nobody', () => {
  const { clock, learn, kinds } = open(0, 1);
  learn('s', 'ann', throttled(1));
  for (clock.at = 1; clock.at <= 2; clock.at++) expect(kinds('s', 'ann', 1)).toEqual([null]);
});

test('a late event loop extends no refusal: its time counts from the request', () => {
  const { clock, learn, kinds, waitMs } = open(1_000);
  // Sent at 850, and the reply is read only now: the sale has opened meanwhile.
  learn('s', 'ann', { kind: 'not_open', waitMs: 100 }, 850);
  expect(kinds('s', 'bob', 1)).toEqual([null]);
  learn('s', 'ann', { kind: 'not_open', waitMs: 200 }, 850);
  expect(waitMs('s', 'bob')).toBe(50);
  clock.at = 1_050;
  expect(kinds('s', 'bob', 1)).toEqual([null]);
  learn('t', 'ann', throttled(300), 900);
  expect(waitMs('t', 'ann')).toBe(150);
});

test('throttled buyers are bounded, and the newest stay', () => {
  const { learn, kinds } = open();
  const count = THROTTLED_BUYERS_MAX + 10;
  for (let n = 0; n < count; n++) learn('s', `b${n}`, throttled(1_000));
  const isCached = (n: number): boolean => kinds('s', `b${n}`, 1)[0] !== null;
  expect([9, count - THROTTLED_BUYERS_MAX / 2, count - 1].map(isCached)).toEqual([false, true, true]);
  const cached = Array.from({ length: count }, (_, n) => isCached(n)).filter(Boolean).length;
  expect(cached).toBeLessThanOrEqual(THROTTLED_BUYERS_MAX);
});

test('a throttled buyer who never stops takes no more memory', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { learn } = open();
  const heapMb = (): number => {
    collect();
    return process.memoryUsage().heapUsed / 1e6;
  };
  const before = heapMb();
  for (let i = 0; i < 500_000; i++) learn('s', `b${i % 10}`, throttled(1_000));
  expect(heapMb() - before).toBeLessThan(10);
  learn('s', 'b0', throttled(1_000));
});

test('throttled buyers are kept for their time while others come, per sale', () => {
  const startsAt = 12_345.6;
  const { clock, learn, kinds, waitMs } = open(startsAt);
  learn('s', 'ann', throttled(600));
  for (let ms = 0; ms < REFUSAL_CACHE_MS - 1; ms += 50) {
    clock.at = startsAt + ms;
    learn('t', `other${ms}`, throttled(600));
    // Rounded down once: never longer than the token takes.
    expect(waitMs('s', 'ann')).toBe(600 - ms);
  }
  expect(kinds('t', 'ann', 1)).toEqual([null]);
});

test('a throttled buyer is cached, however many came before', () => {
  const { clock, learn, waitMs } = open(700);
  for (let ms = 0; ms < 700_000; ms += 100) learn('s', `b${ms}`, throttled(600), 700 + ms);
  clock.at += 700_000;
  learn('s', 'last', throttled(600));
  expect(waitMs('s', 'last')).toBe(600);
});

// The cache's halves turn at 500.
test.each([[[450]], [[510]], [[450, 510]]])(
  'a buyer who was throttled at %j is no longer throttled once an order is accepted',
  (times) => {
    const { clock, learn, kinds } = open();
    learn('s', 'first', throttled(900));
    for (clock.at of [450, 500, 510]) {
      learn('s', 'other', throttled(900));
      if (times.includes(clock.at)) learn('s', 'ann', throttled(900));
    }
    clock.at = 520;
    expect(kinds('s', 'ann', 1)).toEqual(['buyer_limited']);
    learn('s', 'ann', ACCEPTED);
    expect(kinds('s', 'ann', 1)).toEqual([null]);
  },
);
