/**
 * A process with a wrong clock does not open or end a sale, and one whose clock steps works on. Ids
 * of orders and jobs are unique.
 */
import { fileURLToPath } from 'node:url';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { expect, test } from 'vitest';
import { openClient } from '../support/buyers.ts';
import { ask, times, useOwnRedis, useWorld } from '../support/fixtures.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const shifted = fileURLToPath(new URL('../support/shifted-clock.ts', import.meta.url));

const world = useWorld();
const own = useOwnRedis();

test.concurrent.each([5_000, -5_000])(
  '[trap 35] [trap 50] an API whose clock is %i ms off opens no sale early and ends none late',
  async (ms) => {
    const settings = { NODE_OPTIONS: `--import=${shifted}`, CLOCK_SHIFT_MS: String(ms) };
    const client = openClient((await startProcess(world, 'api', settings)).url);
    world.onClose(client.close);
    const opensLater = await makeSale(world, { startsAt: Date.now() + 4_000 });
    const endsSoon = await makeSale(world, { endsAt: Date.now() + 500 });
    const isOn = await makeSale(world, { startsAt: Date.now() - 1_000, endsAt: Date.now() + 60_000 });
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, endsSoon.endsAt + 50 - Date.now())));
    expect((await client.order(opensLater.id)).code).toBe('SALE_NOT_OPEN');
    expect((await client.order(endsSoon.id)).code).toBe('SALE_ENDED');
    expect((await client.order(isOn.id)).code).toBe('accepted');
  },
  30_000,
);

test('clocks that step back and ahead: readiness, limits, caches, heartbeat and orders go on', async () => {
  const steps = [-3_600_000, 7_200_000];
  const settings = { NODE_OPTIONS: `--import=${shifted}` };
  const services = await Promise.all([
    startProcess(own, 'api', { ...settings, IP_RATE_LIMIT: '60' }),
    startProcess(own, 'worker', { ...settings, WORKER_ALIVE_MS: '1500' }),
  ]);
  const { url } = services[0];
  const get = (path: string, headers = {}) => ask(url + path, { headers });
  for (const step of steps) {
    const sale = await makeSale(own);
    const path = `/api/flash-sales/${sale.id}`;
    const seen = async () => (await get(path)).body.product;
    await eventually('all is well', 10_000, async () => (await get('/health')).status === 200);
    await eventually('the sale is cached', 10_000, async () => (await seen())?.remaining === 10);
    // Before the step: a full address and an open breaker.
    await eventually('the address is full', 10_000, async () =>
      (await times(100, () => get('/nope'))).some(({ status }) => status === 429),
    );
    process.kill(own.server.pid as number, 'SIGSTOP');
    await eventually('the API is not ready', 10_000, async () => (await get('/health/ready')).status === 503);
    for (const { child } of services) child.send({ clockStepMs: step });
    process.kill(own.server.pid as number, 'SIGCONT');
    await eventually(`ready after ${step} ms`, 5_000, async () => (await get('/health/ready')).status === 200);

    let order: Awaited<ReturnType<typeof ask>> | undefined;
    await eventually('an order is taken', 5_000, async () => {
      order = await ask(`${url}${path}/order`, { method: 'POST', headers: { 'x-user-id': 'ann' } });
      return order.status === 200;
    });
    await eventually('it is confirmed', 10_000, async () => {
      const found = await get(`/api/orders/${order?.body.order_id}`, { 'x-user-id': 'ann' });
      return found.body.status === 'confirmed';
    });
    await own.redis.del(own.keys.workerAlive);
    await eventually('the heart beats', 5_000, async () => (await get('/health')).status === 200);
    await eventually('numbers are fresh', 3_000, async () => (await seen())?.remaining === 9);
    await own.pool.query('UPDATE sales SET paused = true, version = version + 1 WHERE id = $1', [sale.id]);
    await eventually('settings are fresh', 8_000, async () => (await seen())?.state === 'paused');
  }
}, 60_000);

test('[trap 39] ids of orders and jobs are not counters: none repeats, also from processes that start together', async () => {
  const ids = new Set(Array.from({ length: 200_000 }, () => newOrderId('sale')));
  expect(ids.size).toBe(200_000);
  const sale = await makeSale(world, { units: 1_000 });
  const queues = Array.from({ length: 5 }, () =>
    createOrderQueue({ redis: world.redis.duplicate({ maxRetriesPerRequest: null }), prefix: world.keys.queuePrefix }),
  );
  const one = () => ({
    id: newOrderId(sale.id),
    buyerId: 'b',
    quantity: 1,
    reservedAt: 1,
    requestId: 'r',
    idempotencyKey: null,
  });
  // The tests above may have added jobs.
  const waiting = async (): Promise<number> => (await queues[0]?.bullQueue.getWaitingCount()) ?? 0;
  const before = await waiting();
  await Promise.all(
    queues.map((queue) => queue.add([{ saleId: sale.id, epoch: 1, orders: Array.from({ length: 400 }, one) }], 1)),
  );
  expect((await waiting()) - before).toBe(2_000);
  await Promise.all(queues.map((queue) => queue.close()));
});
