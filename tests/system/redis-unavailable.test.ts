/** Redis is silent, cut off or killed: the API answers in time, and all recovers by itself. */
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type Answer, openApi, type TestApi, useFolder } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale, untilSold } from '../support/sales.ts';
import { proxyBefore, type TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const BUDGET_MS = 2_000;
/** Delay of a busy machine. Less than the budget, so that a request that waits twice is found. */
const MARGIN_MS = 1_500;

const { path: folder } = useFolder();
let server: PrivateServer;
let world: World;
let api: TestApi;
let ledger: TcpProxy;

beforeAll(async () => {
  const distFolder = process.env.TEST_REDIS_DIST;
  // It restarts by itself.
  server = await startPrivateRedis({ folder, ...(distFolder ? { distFolder } : {}) });
  world = await openWorld(inject('template'), { redisUrl: server.url });
  const { proxy, url: DATABASE_URL } = await proxyBefore(world, world.databaseUrl);
  ledger = proxy;
  api = await openApi(world, { REQUEST_TIMEOUT_MS: BUDGET_MS, DATABASE_URL });
  await startWorkerHere(world);
});
afterAll(async () => {
  await world.close();
  await server.stop();
});

const signal = (name: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL') => process.kill(server.pid as number, name);

async function timed(asked: Promise<Answer>): Promise<Answer & { milliseconds: number }> {
  const startedAt = performance.now();
  return { ...(await asked), milliseconds: performance.now() - startedAt };
}
const order = (saleId: string, buyer: string) => timed(api.order(saleId, { buyer }));
const isReady = async () => (await api.get('/health/ready')).status === 200;
const untilAccepted = (saleId: string, withinMs: number) =>
  eventually('orders are accepted again', withinMs, async () => (await order(saleId, 'after')).status === 200);

test('[trap 18] silent: 503 within the budget, with the id of the order; the order is confirmed later', async () => {
  const sale = await makeSale(world);
  expect((await order(sale.id, 'before')).status).toBe(200);
  signal('SIGSTOP');
  const unknown = await order(sale.id, 'meanwhile');
  expect([unknown.word, unknown.headers.get('retry-after')]).toEqual(['503 OUTCOME_UNKNOWN', null]);
  expect(unknown.body.retryable).toBe(false);
  expect(unknown.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  expect(await isReady()).toBe(false);
  signal('SIGCONT');
  await untilAccepted(sale.id, 5_000);
  // [trap 11] Redis had received the request: the unit is not released; the reaper ends the order.
  await eventually('the order of unknown outcome is confirmed', 10_000, async () => {
    return (await api.readOrder(unknown.body.order_id, 'meanwhile')).body.status === 'confirmed';
  });
});

test('an order is read within one budget: 503 if both are silent, from the ledger if Redis is', async () => {
  const sale = await makeSale(world);
  const { order_id: id } = (await order(sale.id, 'ann')).body;
  const read = () => timed(api.readOrder(id));
  const untilRead = () =>
    eventually('the order is confirmed', 15_000, async () => {
      return (await read()).word === '200 confirmed' && (await isReady());
    });
  await untilRead();
  // Both at the same time, on working connections: a known fault would be refused without waiting.
  for (const [silent, word] of [
    ['both', '503 LEDGER_UNAVAILABLE'],
    ['Redis', '200 confirmed'],
  ]) {
    signal('SIGSTOP');
    if (silent === 'both') ledger.hold('down');
    try {
      const answer = await read();
      expect(answer.word, silent).toBe(word);
      expect(answer.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
    } finally {
      ledger.heal();
      signal('SIGCONT');
    }
    await untilRead();
  }
}, 40_000);

test('[trap 9] [trap 38] killed and restarted: 503 meanwhile, then API and worker recover by themselves', async () => {
  const sale = await makeSale(world);
  // A killed Redis must not lose its last second here.
  await world.redis.config('SET', 'appendfsync', 'always');
  await order(sale.id, 'before');
  await untilSold(world, sale.id, 1, 5_000);
  signal('SIGKILL');
  let refused = await order(sale.id, 'meanwhile');
  for (let i = 0; i < 20 && refused.body.code === 'OUTCOME_UNKNOWN'; i++) refused = await order(sale.id, 'meanwhile');
  expect(refused.word).toBe('503 INVENTORY_UNAVAILABLE');
  expect(refused.body.detail).toContain('Nothing was taken');
  // Without Redis nothing is sold: the ledger has no such order.
  const { rows } = await world.pool.query(
    `SELECT count(*)::int AS n FROM orders WHERE sale_id = $1 AND buyer_id = 'meanwhile'`,
    [sale.id],
  );
  expect(rows[0].n).toBe(0);
  expect(refused.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  await untilAccepted(sale.id, 15_000);
  await untilSold(world, sale.id, 2, 15_000);
});

test('connections are cut: the next requests are answered, and the worker takes jobs again', async () => {
  const sale = await makeSale(world, { units: 100 });
  for (let i = 0; i < 5; i++) {
    await world.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await untilAccepted(sale.id, 5_000);
  }
  await untilSold(world, sale.id, 5, 15_000);
});
