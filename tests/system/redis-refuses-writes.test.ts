/** Redis answers, and refuses writes: full, read-only, or without the replicas that it needs. */
import { expect, test } from 'vitest';
import { openApi, times, useOwnRedis } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { useWorkerSteps } from '../support/worker-steps.ts';
import { eventually } from '../support/world.ts';

const world = useOwnRedis();
const steps = useWorkerSteps(world);

/** @param byBytes how much less than it uses Redis may use */
async function fill(byBytes: number): Promise<void> {
  const [, used] = /used_memory:(\d+)/.exec(await world.redis.info('memory')) ?? [];
  await world.redis.config('SET', 'maxmemory', Number(used) - byBytes);
}

const set = (name: string, value: string | number) => () => world.redis.config('SET', name, value);

test.each<[refusal: string, refuse: () => Promise<unknown>, accept: () => Promise<unknown>]>([
  ['NOREPLICAS', set('min-replicas-to-write', 1), set('min-replicas-to-write', 0)],
  ['OOM', () => fill(300_000), set('maxmemory', 0)],
  ['READONLY', () => world.redis.replicaof('127.0.0.1', 1), () => world.redis.replicaof('NO', 'ONE')],
])('%s: no order is taken, and the API is not ready', async (refusal, refuse, accept) => {
  const sale = await makeSale(world);
  const api = await openApi(world);
  const isReady = async () => (await api.get('/health/ready')).status === 200;
  expect(await isReady()).toBe(true);
  await refuse();
  await expect(world.redis.set('x', '1')).rejects.toThrow(refusal);
  expect((await api.order(sale.id)).word).toBe('503 INVENTORY_UNAVAILABLE');
  await eventually('it is not ready', 2_000, async () => !(await isReady()));
  expect((await api.get('/health')).body).toMatchObject({ status: 'unavailable', breakers: { redis: 'closed' } });
  await accept();
  await eventually('it is ready', 2_000, isReady);
});

test('[I3] a full Redis is drained: accepted orders are confirmed and rejected, closed inventories rebuilt', async () => {
  const sale = await makeSale(world, { units: 400 });
  const other = await makeSale(world, { units: 10 });
  const api = await openApi(world);
  await times(300, (i) => api.order(sale.id, { buyer: `b${i}` }));
  await steps.order(other.id);
  const { id: rejected } = await steps.order(sale.id);
  // The worker finds out that the ledger has this order already.
  await steps.orders.reject(sale.id, (await steps.batchOf(sale.id, rejected)).orders, 'UNCONFIRMABLE');
  await steps.otherInstance(other.id);
  await fill(300_000);
  expect((await api.order(sale.id)).word).toBe('503 INVENTORY_UNAVAILABLE');

  await startWorkerHere(world);
  await eventually('drained', 15_000, async () => {
    const [numbers, others] = [await steps.numbers(sale.id), await steps.numbers(other.id)];
    return numbers?.reserved === 0 && numbers.sold === 300 && numbers.available === 100 && others?.sold === 1;
  });
  expect((await api.get('/health')).body.parts.worker).toBe('ok');
  await world.redis.config('SET', 'maxmemory', 0);
}, 60_000);
