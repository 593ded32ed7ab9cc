/** Orders of one turn go to the inventory together, and each gets its own outcome. */
import {
  createReserveBatcher,
  NothingReservedError,
  RESERVE_BATCH_MAX,
} from '@flash-sale/api/orders/reserve-batcher.ts';
import type { ReserveDecision } from '@flash-sale/core/inventory/outcomes.ts';
import { expect, test } from 'vitest';
import { orderRequest } from '../support/sales.ts';

const request = (id: string) => ({ ...orderRequest('s'), id });
function recorded(granted: number) {
  const calls: { saleId: string; orders: string[]; permits: number }[] = [];
  const asked: number[] = [];
  const returned: number[] = [];
  let failNext: Error | null = null;
  const batcher = createReserveBatcher({
    bucket: { capacity: 0, refillRate: 1 },
    inventory: {
      async reserve(saleId, orders, permits) {
        calls.push({ saleId, orders: orders.map((order) => order.id), permits });
        if (saleId === 'broken') throw new Error('broken');
        const decisions = orders.map(
          (): ReserveDecision => ({ outcome: { kind: 'sold_out' }, tokensLeft: 0, tokenInMs: 0 }),
        );
        return { decisions, permitsLeft: 1 };
      },
    },
    globalRateLimiter: {
      async take(wanted) {
        asked.push(wanted);
        if (failNext) throw failNext;
        return { granted, slot: 1, remaining: 0, waitMs: 0 };
      },
      async giveBack(_permits, unused) {
        returned.push(unused);
      },
    },
  });
  return { batcher, calls, asked, returned, failWith: (error: Error) => (failNext = error) };
}

test('orders of one turn share one call per sale, in order of arrival', async () => {
  const { batcher, calls, asked } = recorded(100);
  await Promise.all([
    batcher.reserve('a', request('1')),
    batcher.reserve('b', request('2')),
    batcher.reserve('a', request('3')),
  ]);
  expect(asked).toEqual([3]);
  expect(calls).toEqual([
    { saleId: 'a', orders: ['1', '3'], permits: 2 },
    { saleId: 'b', orders: ['2'], permits: 1 },
  ]);
  await batcher.reserve('a', request('4'));
  expect(calls[2]?.orders).toEqual(['4']);
});

test('a crowd is sent in full batches, and the first orders get the permits', async () => {
  const { batcher, calls, asked } = recorded(10);
  const [full, rest] = [RESERVE_BATCH_MAX, 5];
  await Promise.all(Array.from({ length: 2 * full + rest }, (_, i) => batcher.reserve('a', request(String(i)))));
  expect(asked).toEqual([full, full, rest]);
  expect(calls.map((call) => [call.orders.length, call.permits])).toEqual([
    [full, 10],
    [full, 10],
    [rest, rest],
  ]);
  expect(calls.flatMap((call) => call.orders)).toEqual(Array.from({ length: 2 * full + rest }, (_, i) => String(i)));
});

test('unused permits are returned together', async () => {
  const { batcher, returned } = recorded(10);
  await Promise.all([batcher.reserve('a', request('1')), batcher.reserve('b', request('2'))]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(returned).toEqual([2]);
});

test('a fault of one sale fails only the orders of that sale', async () => {
  const { batcher } = recorded(10);
  const [good, bad] = await Promise.allSettled([
    batcher.reserve('a', request('1')),
    batcher.reserve('broken', request('2')),
  ]);
  expect(good.status).toBe('fulfilled');
  expect(bad).toMatchObject({ status: 'rejected', reason: { message: 'broken' } });
});

test('a fault of the global rate limiter fails every order of the turn', async () => {
  const { batcher, calls, failWith } = recorded(10);
  failWith(new Error('unavailable'));
  const all = await Promise.allSettled([batcher.reserve('a', request('1')), batcher.reserve('b', request('2'))]);
  for (const one of all) expect((one as PromiseRejectedResult).reason).toBeInstanceOf(NothingReservedError);
  expect(calls).toEqual([]);
});
