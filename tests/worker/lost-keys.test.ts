/**
 * Each key is deleted alone, by hand or by another tool, while one order of a capped sale is
 * confirmed and one waits. No buyer gets more than the cap, no unit is sold twice, and every
 * accepted order ends.
 */
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import { ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import { beforeAll, expect, test, vi } from 'vitest';
import { auditHere, codesOf } from '../support/audited.ts';
import { openApi, type TestApi, useApi, useWorld } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { test as concurrentTest } from '../support/system-test.ts';
import { workerSteps } from '../support/worker-steps.ts';
import { eventually, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 60_000 });

const SETTINGS = { RATE_LIMIT_TOKENS: 50, GLOBAL_RATE_LIMIT: 10_000 };
const UNITS = 4;
const CLOSED = '503 SALE_RECOVERING';
const CAPPED = '400 BUYER_LIMIT';

const makeCapped = (world: World, id: string) => makeSale(world, { id, units: UNITS, perBuyerLimit: 1 });

/** Ann's order is confirmed, Bob's waits: no worker runs. @returns Bob's */
async function prepare(world: World, api: TestApi, id: string): Promise<string> {
  const steps = workerSteps(world);
  const { order_id: first } = (await api.order(id, { buyer: 'ann', key: 'k' })).body;
  await steps.confirm(await steps.batchOf(id, first));
  return (await api.order(id, { buyer: 'bob', key: 'k' })).body.order_id;
}

/** Once a worker runs. */
async function expectWhole(world: World, api: TestApi, id: string, violations: readonly string[] = []): Promise<void> {
  const buyers = ['ann', 'bob', 'cas', 'dan', 'eve', 'fay'];
  const isSoldOut = async (): Promise<boolean> => {
    const words = await Promise.all(buyers.map(async (buyer) => (await api.order(id, { buyer })).word));
    return words.every((word) => word === '400 SOLD_OUT' || word === CAPPED);
  };
  await eventually('sold out', 20_000, isSoldOut);
  const steps = workerSteps(world);
  await eventually('all are confirmed', 20_000, async () => (await steps.numbers(id))?.sold === UNITS);
  const { rows } = await world.pool.query(
    `SELECT buyer_id, sum(quantity)::int AS units FROM orders WHERE sale_id = $1 AND status = 'confirmed' GROUP BY 1`,
    [id],
  );
  expect(rows.map(({ units }) => units)).toEqual(Array(UNITS).fill(1));
  expect(rows.map(({ buyer_id }) => buyer_id)).toEqual(expect.arrayContaining(['ann', 'bob']));
  expect(codesOf(await auditHere(world, id))).toEqual(violations);
}

/** Answers to Ann without a key and under her own, and to Bob under his, before a worker acts. */
const told: Record<keyof SaleKeys, [again: string, ann: string, bob: string]> = {
  inventory: [CLOSED, CLOSED, CLOSED],
  buyers: [CLOSED, CLOSED, CLOSED],
  // The ledger rejects a second order of a key; here the cap refuses it.
  orderKeys: [CAPPED, CAPPED, CAPPED],
  reservations: [CAPPED, '200 confirmed', '200 pending'],
  claims: [CAPPED, '200 confirmed', '200 pending'],
  redeliveries: [CAPPED, '200 confirmed', '200 pending'],
  stockChanges: [CAPPED, '200 confirmed', '200 pending'],
  earlierOrders: [CAPPED, '200 confirmed', '200 pending'],
  rebuilder: [CAPPED, '200 confirmed', '200 pending'],
  buckets0: [CAPPED, '200 confirmed', '200 pending'],
  buckets1: [CAPPED, '200 confirmed', '200 pending'],
};

/** Only the audit notices that keys are lost. */
const FORGOTTEN = ['ORDER_KEY_MISSING', 'ORDER_KEY_MISSING'];

const names = Object.keys(told) as (keyof SaleKeys)[];
const world = useWorld();
// Before the API, which knows them from its start on.
beforeAll(() => Promise.all(names.map((name) => makeCapped(world, name))));
const api = useApi(world, () => SETTINGS);

beforeAll(async () => {
  for (const name of names) {
    const bobs = await prepare(world, api, name);
    const keys = world.keys.sale(name);
    // What an earlier rebuild, the reaper and an operator leave.
    await world.redis
      .multi()
      .hset(keys.claims, bobs, 1)
      .hset(keys.redeliveries, bobs, 1)
      .sadd(keys.earlierOrders, bobs)
      .hset(keys.stockChanges, 'a change', 'refused')
      .set(keys.rebuilder, 'x', 'PX', 1_000)
      .exec();
    expect(await world.redis.del(keys[name]), name).toBe(name === 'buckets0' ? 0 : 1);
  }
});

test.each(names)('%s is lost: until a worker acts, every answer is true', async (name) => {
  const word = async (asked: { buyer: string; key?: string }) => (await api.order(name, asked)).word;
  expect([
    await word({ buyer: 'ann' }),
    await word({ buyer: 'ann', key: 'k' }),
    await word({ buyer: 'bob', key: 'k' }),
  ]).toEqual(told[name]);
});

test('then every sale sells the rest, once each, within the caps', async () => {
  await startWorkerHere(world);
  await Promise.all(names.map((name) => expectWhole(world, api, name, name === 'orderKeys' ? FORGOTTEN : [])));
});

const ofQueue = ['wait', 'meta', 'id', 'events', 'marker', 'job-*'];

concurrentTest.concurrent.for(['ledger', 'globalRateLimiter', 'workerAlive', ...ofQueue] as const)(
  '%s of the whole system is lost: the same',
  async (name, { world }) => {
    await makeCapped(world, 'tea');
    const api = await openApi(world, SETTINGS);
    await prepare(world, api, 'tea');
    const heart = createHeartbeat(world);
    await heart.give(10_000);
    const { keys, redis } = world;
    const pattern = keys[name as 'ledger'] ?? `${keys.queuePrefix}:${ORDER_QUEUE}:${name}`;
    const find = () => redis.keys(pattern.replaceAll(/[[\]]/g, '\\$&'));
    await eventually('it is there', 5_000, async () => (await find()).length > 0);
    await redis.del(...(await find()));
    await startWorkerHere(world, { WORKER_ALIVE_MS: 1_000 });
    await expectWhole(world, api, 'tea');
    await eventually('health is ok', 5_000, async () => (await api.get('/health')).status === 200);
  },
);

concurrentTest.concurrent(
  'a sale whose orders were deleted from the ledger is rebuilt once, not for ever',
  async ({ world }) => {
    await makeCapped(world, 'tea');
    const api = await openApi(world, SETTINGS);
    await prepare(world, api, 'tea');
    const steps = workerSteps(world);
    await world.pool.query('DELETE FROM orders');
    await world.redis.del(world.keys.sale('tea').buyers, world.keys.sale('tea').reservations);
    for (let run = 0; run < 3; run++) await steps.watchOnce();
    expect(await steps.epochsOf('tea')).toHaveLength(1);
    expect((await api.order('tea', { buyer: 'cas' })).word).toBe('200 accepted');
  },
);
