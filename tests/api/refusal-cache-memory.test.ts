/** The refusal cache alone, with a clock of its own: what it keeps, for how long, and which request revalidates. */
import {
  createRefusalCache,
  REFUSAL_CACHE_MS,
  REFUSAL_REVALIDATE_MS,
  REFUSAL_STALE_MS,
  THROTTLED_BUYERS_MAX,
} from '@flash-sale/api/orders/refusal-cache.ts';
import type { ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { expect, test } from 'vitest';
import { orderRequest } from '../support/sales.ts';

/** In which a token is refilled: 20 a second. */
const TOKEN_MS = 50;

const request = (buyerId: string) => ({ ...orderRequest('s', buyerId), orderId: 'o' });
const limited = (waitMs: number): ReserveOutcome => ({ kind: 'buyer_limited', waitMs });
const ACCEPTED: ReserveOutcome = { kind: 'reserved', reservedAt: 1, available: 5, epoch: 1 };
const permits = { granted: 1, second: 0, remaining: 0, waitMs: 300, secondLeftMs: 0 };
const batch = (saleId: string, outcomes: ReserveOutcome[], askedAt: number) => ({
  saleId,
  permits,
  askedAt,
  requests: outcomes.map((_, i) => request(`b${i}`)),
  decisions: outcomes.map((outcome) => {
    const isLimited = outcome.kind === 'buyer_limited';
    return { outcome, tokensLeft: isLimited ? 0 : 1, tokenInMs: isLimited ? outcome.waitMs : 0 };
  }),
});

test('the reply to a request from before an invalidation is not cached', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  at = 10;
  cache.invalidate('s');
  at = 20;
  cache.learn(batch('s', [{ kind: 'sold_out' }], 5));
  expect(cache.find('s', 'b')).toBeNull();
  cache.learn(batch('s', [{ kind: 'sold_out' }], 15));
  expect(cache.find('s', 'b')).toMatchObject({ outcome: { kind: 'sold_out' } });
  cache.invalidate(null);
  expect(cache.find('s', 'b')).toBeNull();
});

test('each refusal expires in its own time', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  cache.learn(batch('s', [limited(50)], 0));
  cache.learn(batch('t', [{ kind: 'system_limited' }], 0));
  expect(cache.find('s', 'b0')).toEqual({ outcome: { kind: 'buyer_limited', waitMs: 50 }, waitMs: 50 });
  expect(cache.find('s', 'b1')).toEqual({ outcome: { kind: 'system_limited' }, waitMs: 300 });
  at = 49;
  expect(cache.find('s', 'b1')?.outcome.kind).toBe('system_limited');
  at = 50;
  expect([cache.find('s', 'b0'), cache.find('s', 'b1')]).toEqual([null, null]);
  cache.learn(batch('s', [{ kind: 'not_open', waitMs: 5_000 }], 50));
  expect(cache.find('s', 'b')).toMatchObject({ waitMs: 5_000 });
  at = 450;
  expect([cache.find('s', 'b'), cache.find('s', 'b')]).toEqual([null, null]);
});

test('an expired refusal is revalidated by one request, while the others still get it, for a moment at most', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  cache.learn(batch('s', [{ kind: 'sold_out' }], 0));
  cache.learn(batch('t', [limited(50)], 0));
  for (const [saleId, over] of [
    ['s', REFUSAL_CACHE_MS],
    ['t', 50],
  ] as const) {
    at = over;
    expect([cache.find(saleId, 'b0'), cache.find(saleId, 'b0')?.waitMs]).toEqual([null, 1]);
    at = over + REFUSAL_REVALIDATE_MS - 1;
    expect(cache.find(saleId, 'b0')).not.toBeNull();
    // The revalidation is not answered: the next request revalidates.
    at = over + REFUSAL_REVALIDATE_MS;
    expect([cache.find(saleId, 'b0'), cache.find(saleId, 'b0') === null]).toEqual([null, false]);
    // None is answered: the refusal may be outdated, and every request goes to Redis.
    at = over + REFUSAL_STALE_MS;
    expect([cache.find(saleId, 'b0'), cache.find(saleId, 'b0')]).toEqual([null, null]);
  }
  cache.learn(batch('t', [ACCEPTED], at));
  expect([cache.find('t', 'b0'), cache.find('t', 'b0')]).toEqual([null, null]);
});

test('the order that takes the last token throttles its buyer; a replay does not', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  const took = batch('s', [ACCEPTED], 0);
  cache.learn({ ...took, decisions: [{ outcome: ACCEPTED, tokensLeft: 0, tokenInMs: 50 }] });
  const replayed: ReserveOutcome = { kind: 'replayed', orderId: 'o', available: 5 };
  cache.learn({ ...took, decisions: [{ outcome: replayed, tokensLeft: -1, tokenInMs: 0 }] });
  expect(cache.find('s', 'b0')).toEqual({ outcome: { kind: 'buyer_limited', waitMs: 50 }, waitMs: 50 });
  // One refilled token lets one request through; each further token another one.
  at = 99;
  expect([cache.find('s', 'b0'), cache.find('s', 'b0')?.outcome.kind]).toEqual([null, 'buyer_limited']);
  at = 100;
  expect([cache.find('s', 'b0'), cache.find('s', 'b0')?.outcome.kind]).toEqual([null, 'buyer_limited']);
  at = 50 + REFUSAL_STALE_MS;
  expect([cache.find('s', 'b0'), cache.find('s', 'b0')]).toEqual([null, null]);
});

test('a throttled buyer with two refilled tokens gets both', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  cache.learn(batch('s', [limited(50)], 0));
  at = 120;
  expect([cache.find('s', 'b0'), cache.find('s', 'b0'), cache.find('s', 'b0')?.outcome.kind]).toEqual([
    null,
    null,
    'buyer_limited',
  ]);
});

test('another refusal of the same sale does not count as a revalidation', () => {
  let at = 0;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  cache.learn(batch('s', [{ kind: 'sold_out' }], 0));
  at = REFUSAL_CACHE_MS - 10;
  cache.learn({ ...batch('s', [limited(200)], at) });
  at = REFUSAL_CACHE_MS;
  expect(cache.find('s', 'b0')?.outcome.kind).toBe('buyer_limited');
  expect([cache.find('s', 'b1'), cache.find('s', 'b1')?.outcome.kind]).toEqual([null, 'sold_out']);
});

test('tokens that refill faster than a reply throttle nobody', () => {
  let at = 0;
  const cache = createRefusalCache(1, () => at);
  cache.learn(batch('s', [limited(1)], 0));
  at = 1;
  expect(cache.find('s', 'b0')).toBeNull();
  at = 2;
  expect(cache.find('s', 'b0')).toBeNull();
});

test('a late event loop extends no refusal: its time counts from the request', () => {
  let at = 1_000;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  // Sent at 850, and the reply is read only now: the sale has opened meanwhile.
  cache.learn(batch('s', [{ kind: 'not_open', waitMs: 100 }], 850));
  expect(cache.find('s', 'b')).toBeNull();
  cache.learn(batch('s', [{ kind: 'not_open', waitMs: 200 }], 850));
  expect(cache.find('s', 'b')).toMatchObject({ waitMs: 50 });
  at = 1_050;
  expect(cache.find('s', 'b')).toBeNull();
});

test('throttled buyers are bounded, and the newest stay', () => {
  const cache = createRefusalCache(TOKEN_MS, () => 0);
  const refused = limited(1_000);
  const count = THROTTLED_BUYERS_MAX + 10;
  cache.learn(batch('s', Array(count).fill(refused), 0));
  const isKnown = (n: number): boolean => cache.find('s', `b${n}`) !== null;
  expect(isKnown(9)).toBe(false);
  expect(isKnown(count - THROTTLED_BUYERS_MAX / 2)).toBe(true);
  expect(isKnown(count - 1)).toBe(true);
  const remembered = Array.from({ length: count }, (_, n) => isKnown(n)).filter(Boolean).length;
  expect(remembered).toBeLessThanOrEqual(THROTTLED_BUYERS_MAX);
});

test('throttled buyers are kept for their time while others come, per sale', () => {
  let at = 12_345.6;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  const refused = limited(600);
  cache.learn(batch('s', [refused], at));
  const others = batch('t', [refused], at);
  for (let ms = 0; ms < REFUSAL_CACHE_MS - 1; ms += 50) {
    at = 12_345.6 + ms;
    cache.learn({ ...others, askedAt: at, requests: [request(`other${ms}`)] });
    // Rounded down once: never longer than the token takes.
    expect(cache.find('s', 'b0')?.waitMs).toBe(600 - ms);
  }
  expect(cache.find('t', 'b0')).toBeNull();
});

test('a throttled buyer is cached, however many came before', () => {
  let at = 700;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  const refused = limited(600);
  for (let ms = 0; ms < 700_000; ms += 100)
    cache.learn({ ...batch('s', [refused], at + ms), requests: [request(`b${ms}`)] });
  at += 700_000;
  cache.learn({ ...batch('s', [refused], at), requests: [request('last')] });
  expect(cache.find('s', 'last')?.waitMs).toBe(600);
});

test('a buyer whose order is accepted is no longer throttled, whatever was cached and when', () => {
  const refused = limited(900);
  // The halves turn at 500.
  for (const times of [[450], [510], [450, 510]]) {
    let at = 0;
    const cache = createRefusalCache(TOKEN_MS, () => at);
    const learn = (buyerId: string, outcome: ReserveOutcome) =>
      cache.learn({ ...batch('s', [outcome], at), requests: [request(buyerId)] });
    learn('first', refused);
    for (at of [450, 500, 510]) {
      learn('other', refused);
      if (times.includes(at)) learn('ann', refused);
    }
    at = 520;
    expect(cache.find('s', 'ann')).not.toBeNull();
    learn('ann', ACCEPTED);
    expect(cache.find('s', 'ann')).toBeNull();
  }
});

test('the reply to an earlier request is cached', () => {
  const at = 50_000;
  const cache = createRefusalCache(TOKEN_MS, () => at);
  const refused = limited(300);
  cache.learn(batch('s', [refused], at));
  cache.learn(batch('t', [refused], at - 150));
  expect(cache.find('t', 'b0')).toEqual({ outcome: { kind: 'buyer_limited', waitMs: 150 }, waitMs: 150 });
});
