/** The global rate limiter, the buyer's bucket and the limit per address, over real HTTP. */
import { ADDRESS_PER_SECOND } from '@flash-sale/api/plugins/address-limit.ts';
import { expect, test, vi } from 'vitest';
import { sendCrowd, withCode } from '../support/buyers.ts';
import { BEARER, LOGIN, type TestApi, times, useWorld, withApi } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();

test('of 200 parallel requests of a buyer as many pass as there are tokens; the others get 429 with Retry-After', async () => {
  await withApi(world, { RATE_LIMIT_TOKENS: 100, TOKEN_REFILL_RATE: 1 }, async (api) => {
    const sale = await makeSale(world, { units: 1_000 });
    const startedAt = Date.now();
    const replies = await times(200, () => api.order(sale.id));
    const refilled = Math.ceil((Date.now() - startedAt) / 1_000);
    const passed = replies.filter(({ status }) => status === 200).length;
    expect(passed).toBeGreaterThanOrEqual(100);
    expect(passed).toBeLessThanOrEqual(100 + refilled);
    const refused = replies.filter(({ word }) => word === '429 BUYER_RATE_LIMITED');
    expect(refused.length).toBe(200 - passed);
    const { headers, body } = refused.at(-1) as (typeof refused)[number];
    expect(body.retryable).toBe(true);
    expect(headers.get('retry-after')).toBe('1');
    expect(headers.get('ratelimit-policy')).toBe('"buyer";q=100;w=100');
    expect(headers.get('ratelimit')).toBe('"buyer";r=0;t=1');
    expect(await api.available(sale.id)).toBe(1_000 - passed);
  });
});

test('a buyer who floods locks out neither others nor, after a pause, themselves', async () => {
  await withApi(world, { RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 10, GLOBAL_RATE_LIMIT: 50 }, async (api) => {
    const sale = await makeSale(world, { units: 1_000 });
    const flood = () => api.order(sale.id, { buyer: 'flooder' });
    for (let i = 0; i < 5; i++) await times(60, flood);
    // Refusals use no permits of the system, so another buyer passes at once.
    expect((await api.order(sale.id, { buyer: 'quiet' })).status).toBe(200);
    await eventually('the next token is due', 2_000, async () => (await flood()).status === 200);
  });
});

test('the sales of an event share a bucket, also in memory; another event has its own', async () => {
  await withApi(world, { RATE_LIMIT_TOKENS: 2, TOKEN_REFILL_RATE: 1 }, async (api) => {
    const sales = await Promise.all(['shoe.38', 'shoe.39', 'boot.38'].map((id) => makeSale(world, { id })));
    const [small, large, boot] = sales.map(({ id }) => id) as [string, string, string];
    const words: string[] = [];
    for (const id of [small, large, small, large, boot]) words.push((await api.order(id)).word);
    const limited = '429 BUYER_RATE_LIMITED';
    expect(words).toEqual(['200 accepted', '200 accepted', limited, limited, '200 accepted']);
  });
});

test('reading a sale takes no order tokens', async () => {
  await withApi(world, { RATE_LIMIT_TOKENS: 1, TOKEN_REFILL_RATE: 1 }, async (api) => {
    const sale = await makeSale(world);
    for (let i = 0; i < 20; i++)
      expect((await api.get(`/api/flash-sales/${sale.id}`, { 'x-user-id': 'ann' })).status).toBe(200);
    const { status, headers } = await api.order(sale.id);
    expect([status, headers.get('ratelimit')]).toEqual([200, '"buyer";r=0;t=1']);
  });
});

test('a crowd gets no more than the global limit of a second, and API processes share it', async () => {
  const settings = { GLOBAL_RATE_LIMIT: 100 };
  await withApi(world, settings, (one) =>
    withApi(world, settings, async (two) => {
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

test('the limit per address is off at 0, and otherwise guards every route, even those that do not exist', async () => {
  await withApi(world, { IP_RATE_LIMIT: 0 }, async (api) => {
    const replies = await times(100, () => api.get('/nope'));
    expect(replies.every(({ status }) => status === 404)).toBe(true);
    expect(replies[0]?.headers.get('x-ratelimit-limit')).toBeNull();
  });
  for (const path of ['/api/flash-sales', '/nope', '/health/nope', '/api/admin/sales/x', '/admin/queues'])
    await withApi(world, { IP_RATE_LIMIT: 5 }, async (api) => {
      const replies = await times(12, () => api.get(path));
      const limited = replies.filter(({ word }) => word === '429 ADDRESS_RATE_LIMITED');
      // 7 if all arrive within the second; on a slow machine the last ones may come later.
      expect(limited.length, path).toBeGreaterThanOrEqual(1);
      expect(limited.length, path).toBeLessThanOrEqual(7);
      const { headers, body } = limited[0] as (typeof limited)[number];
      expect(body.retryable).toBe(true);
      expect([headers.get('retry-after'), headers.get('x-ratelimit-limit')]).toEqual(['1', '5']);
    });
});

test('no 1,000 ms have more requests of an address than its limit, and a steady flood gets the limit', async () => {
  await withApi(world, { IP_RATE_LIMIT: 20 }, async ({ app }) => {
    const begin = performance.now();
    let now = begin;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    const passedAt: number[] = [];
    async function send(count: number): Promise<void> {
      const replies = await times(count, () => app.inject('/nope'));
      for (const { statusCode } of replies) if (statusCode === 404) passedAt.push(now);
    }
    await send(1);
    // A crowd at the end of the second that the first one began, then a flood.
    for (now += 950; now < begin + 10_000; now += 25) await send(now === begin + 950 ? 100 : 2);
    clock.mockRestore();
    const within = passedAt.map((from) => passedAt.filter((at) => at >= from && at < from + 1_000).length);
    expect(Math.max(...within)).toBe(20);
    expect(passedAt.length).toBeGreaterThanOrEqual(0.95 * 20 * 9);
  });
});

test('probes, which all come from one address, are never limited', async () => {
  await withApi(world, { IP_RATE_LIMIT: 1 }, async (api) => {
    await times(5, () => api.get('/nope'));
    for (const path of ['/health', '/health/live', '/health/live?now', '/health/ready']) {
      const replies = await times(5, () => api.get(path));
      expect(replies.filter(({ status }) => status === 429).length, path).toBe(0);
    }
  });
});

test.each(['/api/admin/sales', '/%61pi/admin/sales', '/admin/queues', '/docs/json', '/docs/nothing'])(
  'guesses of the operator’s token and floods of pages are limited by default, and no others are: %s',
  async (path) => {
    await withApi(world, {}, async (api) => {
      const startedAt = performance.now();
      const guesses = await times(ADDRESS_PER_SECOND * 2, (i) =>
        api.get(path, { authorization: `Bearer guess-${i}`, 'x-forwarded-for': `10.0.0.${i}` }),
      );
      const operator = await api.get('/api/admin/sales', BEARER);
      expect([operator.status, (await api.get('/admin/queues', LOGIN)).status]).toEqual([200, 200]);
      // Tokens and pages are counted separately.
      const other = await api.get(path.startsWith('/docs') ? '/api/admin/sales' : '/docs/json');
      expect(other.status).toBe(path.startsWith('/docs') ? 401 : 200);
      const seconds = Math.ceil((performance.now() - startedAt) / 1_000);
      const limited = guesses.filter(({ word }) => word === '429 ADDRESS_RATE_LIMITED');
      // 503: more pages at a time than are served.
      const others = new Set(guesses.map(({ status }) => status).filter((status) => ![429, 503].includes(status)));
      expect(guesses.length - limited.length).toBeLessThanOrEqual(ADDRESS_PER_SECOND * seconds);
      expect(limited.every(({ headers }) => headers.get('retry-after') === '1')).toBe(true);
      expect(others.size, String([...others])).toBe(1);
      const reads = await times(ADDRESS_PER_SECOND * 2, () => api.get('/health/live'));
      expect(reads.every(({ status }) => status === 200)).toBe(true);
    });
  },
);

test.each([
  ['by default', {}, 1],
  ['from another proxy than the trusted one', { TRUST_PROXY: '192.0.2.1' }, 1],
  ['from a trusted proxy', { TRUST_PROXY: 'loopback' }, 4],
])('[trap 30] X-Forwarded-For %s', async (_from, settings, expected) => {
  await withApi(world, { IP_RATE_LIMIT: 1, ...settings }, async (api: TestApi) => {
    const replies = await times(4, (i) => api.get('/nope', { 'x-forwarded-for': `10.0.0.${i}` }));
    expect(replies.filter(({ status }) => status === 404)).toHaveLength(expected);
  });
});

test.each([
  ['an IPv4 address with a port', (i: number) => `203.0.113.9:5000${i}`],
  ['an IPv6 address with a port', (i: number) => `[2001:db8::1]:5000${i}`],
  ['an IPv6 address in brackets', (i: number) => (i % 2 === 0 ? '[2001:db8::1]' : '2001:db8::1')],
  ['an IPv6 address in quotes', (i: number) => `"[2001:db8::1]:5000${i}"`],
  ['an IPv6 network', (i: number) => `2001:db8::${i + 1}`],
  ['a mapped IPv4 address', (i: number) => (i % 2 === 0 ? '::ffff:203.0.113.9' : '203.0.113.9')],
  ['a trusted proxy with a port behind it', (i: number) => `203.0.113.9:5000${i}, 127.0.0.1:6000${i}`],
])('one client is one address in X-Forwarded-For: %s', async (_what, forwarded) => {
  await withApi(world, { IP_RATE_LIMIT: 1, TRUST_PROXY: 'loopback' }, async (api: TestApi) => {
    const replies = await times(4, (i) => api.get('/nope', { 'x-forwarded-for': forwarded(i) }));
    expect(replies.filter(({ status }) => status === 404)).toHaveLength(1);
  });
});
