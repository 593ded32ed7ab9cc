/** A process whose clock is wrong opens and ends no sale, and gives no order another order's id. */
import { fileURLToPath } from 'node:url';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

const shifted = fileURLToPath(new URL('../support/shifted-clock.ts', import.meta.url));

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

test.each([5_000, -5_000])(
  '[trap 35] [trap 50] an API whose clock is %i ms off opens no sale early and ends none late',
  async (ms) => {
    const port = String(await freePort());
    const api = await startProcess(world, 'api', {
      PORT: port,
      NODE_OPTIONS: `--import=${shifted}`,
      CLOCK_SHIFT_MS: String(ms),
    });
    try {
      const opensLater = await makeSale(world, { startsAt: Date.now() + 4_000 });
      const endsSoon = await makeSale(world, { endsAt: Date.now() + 500 });
      const isOn = await makeSale(world, { startsAt: Date.now() - 1_000, endsAt: Date.now() + 60_000 });
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, endsSoon.endsAt + 50 - Date.now())));
      const code = async (saleId: string): Promise<string> => {
        const url = `http://127.0.0.1:${port}/api/flash-sales/${saleId}/order`;
        const reply = (await (await fetch(url, { method: 'POST', headers: { 'x-user-id': 'ann' } })).json()) as AnyJson;
        return reply.code ?? reply.status;
      };
      expect(await code(opensLater.id)).toBe('SALE_NOT_OPEN');
      expect(await code(endsSoon.id)).toBe('SALE_ENDED');
      expect(await code(isOn.id)).toBe('accepted');
    } finally {
      await api.kill();
    }
  },
  30_000,
);

test('[trap 39] ids of orders and jobs are no counters: none comes twice, also from processes that start at the same moment', async () => {
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
  // Orders that the APIs of the tests above accepted may have become jobs too.
  const waiting = async (): Promise<number> => (await queues[0]?.bullQueue.getWaitingCount()) ?? 0;
  const before = await waiting();
  await Promise.all(
    queues.map((queue) => queue.add([{ saleId: sale.id, epoch: 1, orders: Array.from({ length: 400 }, one) }], 1)),
  );
  expect((await waiting()) - before).toBe(2_000);
  await Promise.all(queues.map((queue) => queue.close()));
});
