/** The limits, over real HTTP: the global rate limiter, the buyer's bucket, and the limit per address. */

import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { sendCrowd, withCode } from '../support/buyers.ts';
import { type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

async function withApi<Result>(
  settings: Parameters<typeof startApi>[1],
  work: (api: RunningApi) => Promise<Result>,
): Promise<Result> {
  const api = await startApi(world, settings);
  try {
    return await work(api);
  } finally {
    await api.close();
  }
}

const order = (api: RunningApi, saleId: string, buyerId: string): Promise<Response> =>
  fetch(`${api.url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers: { 'x-user-id': buyerId } });

describe("the buyer's bucket", () => {
  test('200 parallel requests of one buyer: as many pass as there are tokens, the others get 429 with Retry-After', async () => {
    await withApi({ RATE_LIMIT_TOKENS: 100, TOKEN_REFILL_RATE: 1 }, async (api) => {
      const sale = await makeSale(world, { units: 1_000 });
      const startedAt = Date.now();
      const replies = await Promise.all(Array.from({ length: 200 }, () => order(api, sale.id, 'one')));
      const refilled = Math.ceil((Date.now() - startedAt) / 1_000);
      const passed = replies.filter((reply) => reply.status === 200);
      expect(passed.length).toBeGreaterThanOrEqual(100);
      expect(passed.length).toBeLessThanOrEqual(100 + refilled);
      const refused = replies.filter((reply) => reply.status === 429);
      expect(refused.length).toBe(200 - passed.length);
      const one = refused.at(-1) as Response;
      expect(await one.json()).toMatchObject({ code: 'BUYER_RATE_LIMITED', retryable: true });
      expect(one.headers.get('retry-after')).toBe('1');
      expect(one.headers.get('ratelimit-policy')).toBe('"buyer";q=100;w=100');
      expect(one.headers.get('ratelimit')).toBe('"buyer";r=0;t=1');
      expect((await api.connections.inventory.read(sale.id)).numbers?.available).toBe(1_000 - passed.length);
    });
  });

  test('a flooding buyer locks out neither others nor, after a pause, themselves', async () => {
    await withApi({ RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 10, GLOBAL_RATE_LIMIT: 50 }, async (api) => {
      const sale = await makeSale(world, { units: 1_000 });
      for (let i = 0; i < 5; i++) await Promise.all(Array.from({ length: 60 }, () => order(api, sale.id, 'flooder')));
      // Refusals use no permits of the system, so another buyer passes at once.
      expect((await order(api, sale.id, 'quiet')).status).toBe(200);
      await eventually('the next token is due', 2_000, async () => {
        return (await order(api, sale.id, 'flooder')).status === 200;
      });
    });
  });

  test('reading a sale takes no order tokens', async () => {
    await withApi({ RATE_LIMIT_TOKENS: 1, TOKEN_REFILL_RATE: 1 }, async (api) => {
      const sale = await makeSale(world);
      for (let i = 0; i < 20; i++) {
        expect(
          (await fetch(`${api.url}/api/flash-sales/${sale.id}`, { headers: { 'x-user-id': 'reader' } })).status,
        ).toBe(200);
      }
      const placed = await order(api, sale.id, 'reader');
      expect([placed.status, placed.headers.get('ratelimit')]).toEqual([200, '"buyer";r=0;t=1']);
    });
  });
});

describe('the global rate limiter', () => {
  test('a crowd gets no more than the limit of a second, and API processes share it', async () => {
    const settings = { GLOBAL_RATE_LIMIT: 100 };
    await withApi(settings, (one) =>
      withApi(settings, async (two) => {
        const sale = await makeSale(world, { units: 10_000 });
        await world.redis.del(world.keys.globalRateLimiter);
        const startedAt = performance.now();
        const replies = await sendCrowd({ urls: [one.url, two.url], saleId: sale.id, buyers: 800, connections: 80 });
        const seconds = (performance.now() - startedAt) / 1_000;
        const accepted = withCode(replies, 'accepted').length;
        expect(accepted + withCode(replies, 'SYSTEM_RATE_LIMITED').length).toBe(800);
        expect(accepted).toBeGreaterThanOrEqual(100);
        expect(accepted).toBeLessThanOrEqual(100 * (1 + seconds) + 2);
      }),
    );
  });
});

describe('the limit per address', () => {
  test('is off at 0, and otherwise guards every route, even those that do not exist', async () => {
    await withApi({ IP_RATE_LIMIT: 0 }, async (api) => {
      const replies = await Promise.all(Array.from({ length: 100 }, () => fetch(`${api.url}/health/live`)));
      expect(replies.every((reply) => reply.status === 200)).toBe(true);
      expect(replies[0]?.headers.get('x-ratelimit-limit')).toBeNull();
    });
    for (const path of ['/health/live', '/api/flash-sales', '/nope', '/api/admin/sales/x', '/admin/queues'])
      await withApi({ IP_RATE_LIMIT: 5 }, async (api) => {
        const replies = await Promise.all(Array.from({ length: 12 }, () => fetch(`${api.url}${path}`)));
        const limited = replies.filter((reply) => reply.status === 429);
        // 7 where all arrive within the second; on a slow machine the last ones may fall into the next.
        expect(limited.length, path).toBeGreaterThanOrEqual(1);
        expect(limited.length, path).toBeLessThanOrEqual(7);
        const one = limited[0] as Response;
        expect(await one.json()).toMatchObject({ code: 'ADDRESS_RATE_LIMITED', retryable: true });
        expect(one.headers.get('retry-after')).toBe('1');
        expect(one.headers.get('x-ratelimit-limit')).toBe('5');
      });
  });

  test('guesses of the operator’s token meet it before they are compared', async () => {
    await withApi({ IP_RATE_LIMIT: 20 }, async (api) => {
      const guesses = await Promise.all(
        Array.from({ length: 200 }, (_, i) =>
          fetch(`${api.url}/api/admin/sales`, {
            headers: { authorization: `Bearer guess-${i}`, 'x-forwarded-for': `10.0.0.${i}` },
          }),
        ),
      );
      const statuses = guesses.map(({ status }) => status);
      expect(statuses.filter((status) => status === 401).length).toBeLessThanOrEqual(60);
      expect(new Set(statuses)).toEqual(new Set([401, 429]));
    });
  });

  const pass = async (api: RunningApi, forwardedFor: string): Promise<number> => {
    const replies = await Promise.all(
      Array.from({ length: 4 }, (_, i) =>
        fetch(`${api.url}/health/live`, { headers: { 'x-forwarded-for': forwardedFor.replace('N', String(i)) } }),
      ),
    );
    return replies.filter((reply) => reply.status === 200).length;
  };

  test('[trap 30] X-Forwarded-For is ignored by default, and used from trusted proxies', async () => {
    await withApi({ IP_RATE_LIMIT: 1 }, async (api) => expect(await pass(api, '10.0.0.N')).toBe(1));
    await withApi({ IP_RATE_LIMIT: 1, TRUST_PROXY: '192.0.2.1' }, async (api) =>
      expect(await pass(api, '10.0.0.N')).toBe(1),
    );
    await withApi({ IP_RATE_LIMIT: 1, TRUST_PROXY: 'loopback' }, async (api) =>
      expect(await pass(api, '10.0.0.N')).toBe(4),
    );
  });
});
