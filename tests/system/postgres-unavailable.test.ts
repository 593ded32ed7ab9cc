/** PostgreSQL refuses connections or is silent: orders are accepted up to the backlog limit, and all are confirmed later. */

import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { UNAVAILABLE_RETRY_MS } from '@flash-sale/worker/orders/consume-orders.ts';
import pg from 'pg';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { sendCrowd, tallyOf } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const BUDGET_MS = 600;
const BACKLOG = 300;
const JOB_LOCK_MS = 1_000;
/**
 * An attempt that were used up would be logged as the first try fails, and a lock that were not renewed would be found lost
 * after its time: this is longer than some tries, each of which waits for a connection and for a reply, and than three locks.
 */
const UNAVAILABLE_MS = Math.max(3 * (2 * BUDGET_MS + UNAVAILABLE_RETRY_MS), 3 * JOB_LOCK_MS) + 500;

let world: World;
let way: TcpProxy;
let api: RunningApi;
let worker: { stop(): Promise<void> };

beforeEach(async () => {
  world = await openWorld(inject('template'));
  const url = new URL(world.databaseUrl);
  way = await TcpProxy.listen(await freePort(), Number(url.port));
  url.port = String(way.port);
  const settings = {
    DATABASE_URL: url.href,
    REQUEST_TIMEOUT_MS: BUDGET_MS,
    WORKER_STATEMENT_MS: BUDGET_MS,
    BACKLOG_LIMIT: BACKLOG,
    JOB_LOCK_MS,
  };
  [api, worker] = await Promise.all([startApi(world, settings), startWorkerHere(world, settings)]);
});
afterEach(async () => {
  await way.heal();
  await Promise.all([api.close(), worker.stop()]);
  await way.close();
  await world.close();
});

const health = async (): Promise<AnyJson> => (await fetch(`${api.url}/health`)).json();

test.each([
  ['refuses', () => way.refuse()],
  ['is silent', async () => way.hold('down')],
] as const)(
  '[trap 12] it %s: a bounded backlog, then LEDGER_BEHIND; no attempt is used up; then all are confirmed',
  async (_, goAway) => {
    const sale = await makeSale(world, { units: 5_000 });
    // The catalogue is known, as in a sale that is on.
    await fetch(`${api.url}/api/flash-sales/${sale.id}`);
    await goAway();
    const crowd = await sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 800, connections: 20 });
    expect(tallyOf(crowd)).toEqual({ '200 accepted': BACKLOG, '503 LEDGER_BEHIND': 800 - BACKLOG });

    const refused = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
      method: 'POST',
      headers: { 'x-user-id': 'ann' },
    });
    expect(refused.headers.get('retry-after')).not.toBeNull();
    expect(await refused.json()).toMatchObject({
      code: 'LEDGER_BEHIND',
      retryable: true,
      detail: expect.stringContaining('Nothing was taken'),
    });

    const queue = createOrderQueue({
      redis: world.redis.duplicate({ maxRetriesPerRequest: null }),
      prefix: world.keys.queuePrefix,
    });
    await new Promise((resolve) => setTimeout(resolve, UNAVAILABLE_MS));
    const jobs = await queue.bullQueue.getJobs(['active', 'wait', 'delayed', 'failed']);
    expect(jobs.length).toBeGreaterThan(0);
    expect(jobs.filter((job) => job.attemptsMade > 0)).toEqual([]);
    expect(world.lines.filter((line) => line.msg === 'an attempt at a job failed')).toEqual([]);
    await queue.close();

    await way.heal();
    await eventually('all are confirmed', 30_000, async () => {
      const { rows } = await world.pool.query(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed'`);
      return rows[0].n === BACKLOG;
    });
    const after = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
      method: 'POST',
      headers: { 'x-user-id': 'ann' },
    });
    expect(after.status).toBe(200);
  },
  90_000,
);

test('[trap 12] it was unavailable and comes back read-only: both are logged, no attempt is used up, and all is confirmed once it can write', async () => {
  const sale = await makeSale(world);
  const database = new URL(world.databaseUrl).pathname.slice(1);
  // The one that can still write.
  const operator = new pg.Client({
    connectionString: world.databaseUrl,
    options: '-c default_transaction_read_only=off',
  });
  await operator.connect();
  try {
    await operator.query(`ALTER DATABASE ${database} SET default_transaction_read_only = on`);
    // Sessions that were there before are not told.
    way.cut();
    const order = () =>
      fetch(`${api.url}/api/flash-sales/${sale.id}/order`, { method: 'POST', headers: { 'x-user-id': 'ann' } });
    const waits = () => world.lines.filter(({ msg }) => String(msg).includes('they wait'));
    await fetch(`${api.url}/api/flash-sales/${sale.id}`);
    await way.refuse();
    await eventually('an order is accepted', 10_000, async () => (await order()).status === 200);
    await eventually('the worker says that it waits', 10_000, () => waits().length > 0);
    await way.heal();
    await eventually('and that now it waits for something else', 10_000, () =>
      waits().some(({ err }) => String(err).includes('read-only')),
    );
    // Three times as long as the three tries of an attempt take.
    await new Promise((resolve) => setTimeout(resolve, 3 * 3 * UNAVAILABLE_RETRY_MS));
    expect(world.lines.filter((line) => line.msg === 'an attempt at a job failed')).toEqual([]);
  } finally {
    await operator.query(`ALTER DATABASE ${database} RESET default_transaction_read_only`);
    await operator.end();
  }
  await eventually('it is confirmed', 10_000, async () => {
    const { rows } = await world.pool.query(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed'`);
    return rows[0].n > 0;
  });
}, 60_000);

test('[trap 18] reads that hang are refused at once by the breaker, health says so, and it closes by itself', async () => {
  const sale = await makeSale(world);
  const read = async (): Promise<{ code: string; milliseconds: number }> => {
    const startedAt = performance.now();
    const response = await fetch(`${api.url}/api/orders/${sale.id}-01ARZ3NDEKTSV4RRFFQ69G5FAV`, {
      headers: { 'x-user-id': 'ann' },
    });
    return { code: ((await response.json()) as AnyJson).code, milliseconds: performance.now() - startedAt };
  };
  expect((await read()).code).toBe('ORDER_NOT_FOUND');
  way.hold('down');
  const hung = await Promise.all(Array.from({ length: 8 }, read));
  expect(new Set(hung.map(({ code }) => code))).toEqual(new Set(['LEDGER_UNAVAILABLE']));
  // Open, or with one call on trial.
  await eventually('the breaker is open', 5_000, async () => {
    await read();
    return (await health()).breakers.postgres !== 'closed';
  });
  // One of them may be the one on trial.
  await eventually('calls are refused at once', 10_000, async () => {
    const burst = await Promise.all(Array.from({ length: 20 }, read));
    return burst.filter(({ milliseconds }) => milliseconds < BUDGET_MS / 2).length >= 19;
  });
  expect(await health()).toMatchObject({
    parts: { redis: 'ok', postgres: 'does not answer' },
    unavailable: ['postgres'],
  });
  await way.heal();
  await eventually('the breaker is closed', 10_000, async () => {
    const { code } = await read();
    return code === 'ORDER_NOT_FOUND' && (await health()).breakers.postgres === 'closed';
  });
}, 40_000);
