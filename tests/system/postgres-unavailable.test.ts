/** PostgreSQL refuses or is silent: orders up to the backlog limit are confirmed later. */

import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { UNAVAILABLE_RETRY_MS } from '@flash-sale/worker/orders/consume-orders.ts';
import pg from 'pg';
import { expect } from 'vitest';
import { sendCrowd, tallyOf } from '../support/buyers.ts';
import { openApi, times } from '../support/fixtures.ts';
import { startWorkerHere } from '../support/running-system.ts';
import { makeSale, untilSold } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { proxyBefore } from '../support/tcp-proxy.ts';
import { eventually, type World } from '../support/world.ts';

const BUDGET_MS = 600;
const BACKLOG = 300;
const JOB_LOCK_MS = 1_000;
/**
 * Long enough to see an attempt that is used up and a lock that is not renewed: three tries, each
 * of which waits for a connection and for a reply, and three locks.
 */
const UNAVAILABLE_MS = Math.max(3 * (2 * BUDGET_MS + UNAVAILABLE_RETRY_MS), 3 * JOB_LOCK_MS) + 500;

async function start(world: World) {
  const { proxy, url: DATABASE_URL } = await proxyBefore(world, world.databaseUrl);
  const settings = {
    DATABASE_URL,
    REQUEST_TIMEOUT_MS: BUDGET_MS,
    WORKER_STATEMENT_MS: BUDGET_MS,
    BACKLOG_LIMIT: BACKLOG,
    JOB_LOCK_MS,
  };
  const [api] = await Promise.all([openApi(world, settings), startWorkerHere(world, settings)]);
  world.onClose(() => proxy.heal());
  return { proxy, api, health: async () => (await api.get('/health')).body };
}

const failedAttempts = ({ lines }: World) => lines.filter((line) => line.msg === 'an attempt at a job failed');

test.concurrent.for(['refuses', 'is silent'] as const)(
  '[trap 12] it %s: a bounded backlog, then LEDGER_BEHIND; no attempt is used up; then all are confirmed',
  { timeout: 90_000 },
  async (fault, { world }) => {
    const { proxy, api } = await start(world);
    const sale = await makeSale(world, { units: 5_000 });
    // The API knows the sale, as during a sale.
    await api.get(`/api/flash-sales/${sale.id}`);
    if (fault === 'refuses') proxy.refuse();
    else proxy.hold('down');
    const crowd = await sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 800, connections: 20 });
    expect(tallyOf(crowd)).toEqual({ '200 accepted': BACKLOG, '503 LEDGER_BEHIND': 800 - BACKLOG });
    const refused = await api.order(sale.id);
    expect(refused.headers.get('retry-after')).not.toBeNull();
    expect(refused.body).toMatchObject({
      code: 'LEDGER_BEHIND',
      retryable: true,
      detail: expect.stringContaining('Nothing was taken'),
    });

    await new Promise((resolve) => setTimeout(resolve, UNAVAILABLE_MS));
    const queue = createOrderQueue({
      redis: world.redis.duplicate({ maxRetriesPerRequest: null }),
      prefix: world.keys.queuePrefix,
    });
    const jobs = await queue.bullQueue.getJobs(['active', 'wait', 'delayed', 'failed']);
    await queue.close();
    expect(jobs.length).toBeGreaterThan(0);
    expect(jobs.filter((job) => job.attemptsMade > 0)).toEqual([]);
    expect(failedAttempts(world)).toEqual([]);

    proxy.heal();
    await untilSold(world, sale.id, BACKLOG);
    expect((await api.order(sale.id)).status).toBe(200);
  },
);

test.concurrent('[trap 12] it is unavailable, then read-only: both are logged, no attempt is used up, all is confirmed later', async ({
  world,
}) => {
  const { proxy, api } = await start(world);
  const sale = await makeSale(world);
  const database = new URL(world.databaseUrl).pathname.slice(1);
  // A session that can still write.
  const operator = new pg.Client({
    connectionString: world.databaseUrl,
    options: '-c default_transaction_read_only=off',
  });
  await operator.connect();
  try {
    await operator.query(`ALTER DATABASE ${database} SET default_transaction_read_only = on`);
    // Open sessions keep the earlier setting.
    proxy.cut();
    const waits = () => world.lines.filter(({ msg }) => String(msg).includes('they wait'));
    await api.get(`/api/flash-sales/${sale.id}`);
    proxy.refuse();
    await eventually('an order is accepted', 10_000, async () => (await api.order(sale.id)).status === 200);
    await eventually('the worker logs that orders wait', 10_000, () => waits().length > 0);
    proxy.heal();
    const isReadOnly = () => waits().some(({ err }) => String(err).includes('read-only'));
    await eventually('it logs the new reason', 10_000, isReadOnly);
    // Three times as long as the three tries of an attempt take.
    await new Promise((resolve) => setTimeout(resolve, 3 * 3 * UNAVAILABLE_RETRY_MS));
    expect(failedAttempts(world)).toEqual([]);
  } finally {
    await operator.query(`ALTER DATABASE ${database} RESET default_transaction_read_only`);
    await operator.end();
  }
  await untilSold(world, sale.id, 1, 10_000);
}, 60_000);

test('[trap 18] the breaker refuses reads that hang at once, /health shows it, and it closes by itself', async ({
  world,
}) => {
  const { proxy, api, health } = await start(world);
  const read = async (): Promise<{ code: string; milliseconds: number }> => {
    const startedAt = performance.now();
    const { body } = await api.readOrder('sale-01ARZ3NDEKTSV4RRFFQ69G5FAV');
    return { code: body.code, milliseconds: performance.now() - startedAt };
  };
  expect((await read()).code).toBe('ORDER_NOT_FOUND');
  const sale = await makeSale(world);
  proxy.hold('down');
  const changedAt = performance.now();
  expect((await api.admin('POST', `/sales/${sale.id}/pause`)).status).toBe(503);
  // One query's bound and its grace of a second, not those of a ROLLBACK, too.
  expect(performance.now() - changedAt).toBeLessThan(BUDGET_MS * 2 + 1_000);
  const hung = await times(8, read);
  expect(new Set(hung.map(({ code }) => code))).toEqual(new Set(['LEDGER_UNAVAILABLE']));
  // Open, or half open with one trial call.
  await eventually('the breaker is open', 5_000, async () => {
    await read();
    return (await health()).breakers.postgres !== 'closed';
  });
  // One may be the trial call.
  await eventually('calls are refused at once', 10_000, async () => {
    const burst = await times(20, read);
    return burst.filter(({ milliseconds }) => milliseconds < BUDGET_MS / 2).length >= 19;
  });
  expect(await health()).toMatchObject({
    parts: { redis: 'ok', postgres: 'does not answer' },
    unavailable: ['postgres'],
  });
  proxy.heal();
  await eventually('the breaker is closed', 10_000, async () => {
    const { code } = await read();
    return code === 'ORDER_NOT_FOUND' && (await health()).breakers.postgres === 'closed';
  });
}, 40_000);
