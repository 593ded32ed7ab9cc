/** Servers and processes that hang: frozen worker, locked row, ended backends, silent Redis. */
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { expect, vi } from 'vitest';
import { openClient } from '../support/buyers.ts';
import { ADMIN_TOKEN, startApi, startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale, reserveOne, untilSold } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { proxyBefore } from '../support/tcp-proxy.ts';
import { eventually, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 120_000 });

const numbersOf = async (world: World, saleId: string) => (await createInventory(world).read(saleId)).numbers;

/** Reserves an order and puts it into the queue. */
async function putOrder(world: World, saleId: string): Promise<void> {
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  const inventory = createInventory(world);
  const id = newOrderId(saleId);
  await reserveOne(inventory, saleId, id);
  const order = await inventory.findReservation(saleId, id);
  if (!order || order === 'recovering') throw new Error('no reservation');
  await queue.add([{ saleId, epoch: 1, orders: [order] }]);
  await queue.close();
}

/** Each insert of an order takes half a second, so that a test can interrupt a transaction. */
const slowInserts = ({ pool }: World): Promise<unknown> =>
  pool.query(`
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()`);

async function backends({ pool }: World, where: string): Promise<number> {
  const sql = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND ${where}`;
  return (await pool.query(sql)).rowCount ?? 0;
}

const untilInTransaction = (world: World): Promise<void> =>
  eventually('a worker inserts', 10_000, async () => (await backends(world, `wait_event = 'PgSleep'`)) > 0);

test.concurrent('[I3] [trap 34] a worker that freezes in a transaction does not keep its sale from the other workers', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 100 });
  await slowInserts(world);
  const bounds = { WORKER_STATEMENT_MS: 2_000, JOB_LOCK_MS: 2_000 };
  const frozen = await startProcess(world, 'worker', {
    ORPHAN_AGE_MS: '60000',
    WORKER_STATEMENT_MS: String(bounds.WORKER_STATEMENT_MS),
    JOB_LOCK_MS: String(bounds.JOB_LOCK_MS),
  });
  await putOrder(world, sale.id);
  await untilInTransaction(world);
  frozen.child.kill('SIGSTOP');
  for (let i = 0; i < 4; i++) await putOrder(world, sale.id);
  await startWorkerHere(world, { ...bounds, ORPHAN_AGE_MS: 1_000 });
  await untilSold(world, sale.id, 5);
  frozen.child.kill('SIGCONT');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(frozen.child.exitCode).toBeNull();
  expect(await numbersOf(world, sale.id)).toMatchObject({ sold: 5, available: 95, reserved: 0 });
  const { rows } = await world.pool.query('SELECT DISTINCT status FROM orders');
  expect(rows).toEqual([{ status: 'confirmed' }]);
});

test.concurrent('a sale whose row is locked does not delay the orders of other sales', async ({ world }) => {
  const [held, free] = [await makeSale(world, { units: 10 }), await makeSale(world, { units: 10 })];
  const holder = await world.pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT FROM sales WHERE id = $1 FOR UPDATE', [held.id]);
  for (const { id } of [held, held, free]) await putOrder(world, id);
  // One job at a time, and production's bounds: a lock timeout puts a job back without using up an
  // attempt.
  const { REQUEST_TIMEOUT_MS } = readEnvironment({ NODE_ENV: 'production', AUTH: 'header', ADMIN_TOKEN });
  await startWorkerHere(world, { WORKER_CONCURRENCY: 1, REQUEST_TIMEOUT_MS, ORPHAN_AGE_MS: 60_000 });
  await untilSold(world, free.id, 1, 12_000);
  expect(await numbersOf(world, held.id)).toMatchObject({ reserved: 2, sold: 0 });
  await holder.query('ROLLBACK');
  holder.release();
  await untilSold(world, held.id, 2, 20_000);
  const { bullQueue } = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  await eventually('all jobs are completed', 5_000, async () => (await bullQueue.getCompletedCount()) === 3);
  expect((await bullQueue.getJobs('completed')).map((job) => job.attemptsMade)).toEqual([1, 1, 1]);
  await bullQueue.close();
});

test.concurrent('PostgreSQL ends every connection during transactions: API and worker survive', async ({ world }) => {
  const sale = await makeSale(world, { units: 100 });
  await slowInserts(world);
  const [api, worker] = await Promise.all([startProcess(world, 'api'), startProcess(world, 'worker')]);
  for (let i = 0; i < 3; i++) {
    await putOrder(world, sale.id);
    await untilInTransaction(world);
    // Meanwhile the operator's transaction waits for the sale's row.
    const resumed = fetch(`${api.url}/api/admin/sales/${sale.id}/resume`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    });
    let answered = false;
    void resumed.finally(() => (answered = true));
    const isWaiting = async () => answered || (await backends(world, `wait_event_type = 'Lock'`)) > 0;
    await eventually('the operator waits', 5_000, isWaiting);
    await world.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'flash-sale-%'`,
    );
    expect([200, 503]).toContain((await resumed).status);
  }
  expect([api.child.exitCode, worker.child.exitCode]).toEqual([null, null]);
  await untilSold(world, sale.id, 3, 40_000);
});

test.concurrent('[trap 18] [trap 38] API and worker replace connections to Redis that fall silent', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 100 });
  const { proxy, url: REDIS_URL } = await proxyBefore(world, world.redisUrl);
  const api = await startApi(world, { REDIS_URL, REQUEST_TIMEOUT_MS: 1_000 });
  // A call that waits for a job is shorter than WORKER_SILENT_MS, as with the defaults.
  await startWorkerHere(world, { REDIS_URL, JOB_POLL_MS: 1_000, WORKER_SILENT_MS: 2_000 });
  const buyers = openClient(api.url);
  world.onClose(buyers.close);
  const order = async (buyerId: string) => (await buyers.order(sale.id, { buyerId })).status;
  expect(await order('before')).toBe(200);
  await untilSold(world, sale.id, 1, 10_000);
  proxy.orphan('near');
  expect(await order('meanwhile')).toBe(503);
  await eventually('orders are accepted again', 8_000, async () => (await order('after')) === 200);
  await untilSold(world, sale.id, 2, 20_000);
});
