/** Parts that are neither there nor gone: a frozen worker, a backend that ends in a transaction, a connection cut without a word. */

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import {
  ADMIN_TOKEN,
  type ServiceProcess,
  startApi,
  startProcess,
  startWorkerHere,
} from '../support/running-system.ts';
import { makeSale, reserveOne } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 120_000 });

let world: World;
let inventory: Inventory;
let processes: ServiceProcess[];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
  processes = [];
});
afterEach(async () => {
  await Promise.all(processes.map((process) => process.kill()));
  await world.close();
});

/** Reserves an order and puts it into the queue. */
async function putOrder(saleId: string): Promise<void> {
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  const id = newOrderId(saleId);
  await reserveOne(inventory, saleId, id);
  const order = await inventory.findReservation(saleId, id);
  if (!order || order === 'recovering') throw new Error('no reservation');
  await queue.add([{ saleId, epoch: 1, orders: [order] }]);
  await queue.close();
}

/** Each insert of an order takes half a second, so that a test can meet a transaction in its middle. */
const slowInserts = (): Promise<unknown> =>
  world.pool.query(`
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()`);

const backends = async (where: string): Promise<number> =>
  (await world.pool.query(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND ${where}`)).rowCount ??
  0;

const inTheMiddle = (): Promise<void> =>
  eventually(
    'a worker is in the middle of a transaction',
    10_000,
    async () => (await backends(`wait_event = 'PgSleep'`)) > 0,
  );

const allConfirmed = (saleId: string, units: number, withinMs: number): Promise<void> =>
  eventually(`${units} are confirmed`, withinMs, async () => {
    const numbers = (await inventory.read(saleId)).numbers;
    return numbers?.reserved === 0 && numbers.sold === units;
  });

test('[I3] [trap 34] a worker that freezes in a transaction does not keep its sale from the others, and nobody is rejected', async () => {
  const sale = await makeSale(world, { units: 100 });
  await slowInserts();
  const frozen = await startProcess(world, 'worker', {
    ORPHAN_AGE_MS: '60000',
    WORKER_STATEMENT_MS: '2000',
    JOB_LOCK_MS: '2000',
  });
  processes.push(frozen);
  await putOrder(sale.id);
  await inTheMiddle();
  frozen.child.kill('SIGSTOP');
  for (let i = 0; i < 4; i++) await putOrder(sale.id);
  const worker = await startWorkerHere(world, { WORKER_STATEMENT_MS: 2_000, ORPHAN_AGE_MS: 1_000, JOB_LOCK_MS: 2_000 });
  await allConfirmed(sale.id, 5, 30_000);
  frozen.child.kill('SIGCONT');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(frozen.child.exitCode).toBeNull();
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ sold: 5, available: 95, reserved: 0 });
  const { rows } = await world.pool.query('SELECT DISTINCT status FROM orders');
  expect(rows).toEqual([{ status: 'confirmed' }]);
  await worker.stop();
});

test('a sale whose row somebody holds does not keep the orders of other sales waiting', async () => {
  const [held, free] = [await makeSale(world, { units: 10 }), await makeSale(world, { units: 10 })];
  const holder = await world.pool.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT FROM sales WHERE id = $1 FOR UPDATE', [held.id]);
  await putOrder(held.id);
  await putOrder(held.id);
  await putOrder(free.id);
  // One job at a time, and the bounds of production: a lock timeout puts a job back without using up an attempt.
  const { REQUEST_TIMEOUT_MS } = readEnvironment({ NODE_ENV: 'production', AUTH: 'header', ADMIN_TOKEN });
  const worker = await startWorkerHere(world, {
    WORKER_CONCURRENCY: 1,
    REQUEST_TIMEOUT_MS,
    ORPHAN_AGE_MS: 60_000,
  });
  await allConfirmed(free.id, 1, 12_000);
  expect((await inventory.read(held.id)).numbers).toMatchObject({ reserved: 2, sold: 0 });
  await holder.query('ROLLBACK');
  holder.release();
  await allConfirmed(held.id, 2, 20_000);
  await worker.stop();
  const { bullQueue } = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  expect((await bullQueue.getJobs('completed')).map((job) => job.attemptsMade)).toEqual([1, 1, 1]);
  await bullQueue.close();
});

test('PostgreSQL ends every connection in the middle of transactions: API and worker live on', async () => {
  const sale = await makeSale(world, { units: 100 });
  await slowInserts();
  const port = String(await freePort());
  const [api, worker] = await Promise.all([startProcess(world, 'api', { PORT: port }), startProcess(world, 'worker')]);
  processes.push(api, worker);
  for (let i = 0; i < 3; i++) {
    await putOrder(sale.id);
    await inTheMiddle();
    // The operator's transaction waits for the sale's row meanwhile.
    const paused = fetch(`http://127.0.0.1:${port}/api/admin/sales/${sale.id}/resume`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    });
    let answered = false;
    void paused.finally(() => (answered = true));
    await eventually(
      'the operator waits',
      5_000,
      async () => answered || (await backends(`wait_event_type = 'Lock'`)) > 0,
    );
    await world.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'flash-sale-%'`,
    );
    expect([200, 503]).toContain((await paused).status);
  }
  expect([api.child.exitCode, worker.child.exitCode]).toEqual([null, null]);
  await allConfirmed(sale.id, 3, 40_000);
});

/** A way to Redis that can be cut without a word: open connections stay open and carry nothing, new ones work. */
async function mutableWay(to: URL): Promise<{ url: string; mute(): void; close(): void }> {
  const pairs: [Socket, Socket][] = [];
  const server: Server = createServer((near) => {
    const far = connect(Number(to.port), to.hostname);
    for (const socket of [near, far]) socket.on('error', () => {});
    near.pipe(far).pipe(near);
    pairs.push([near, far]);
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(to.href);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  return {
    url: url.href,
    mute() {
      for (const [near, far] of pairs) {
        near.unpipe();
        far.unpipe();
        near.pause();
        far.pause();
      }
    },
    close() {
      for (const pair of pairs) for (const socket of pair) socket.destroy();
      server.close();
    },
  };
}

test('[trap 18] [trap 38] connections to Redis that fall silent are rebuilt, by the API within its budget and by the worker', async () => {
  const sale = await makeSale(world, { units: 100 });
  const way = await mutableWay(new URL(world.redisUrl));
  const api = await startApi(world, { REDIS_URL: way.url, REQUEST_TIMEOUT_MS: 1_000 });
  // A call that waits for a job is shorter than what counts as silence, as with the defaults.
  const worker = await startWorkerHere(world, { REDIS_URL: way.url, JOB_POLL_MS: 1_000, WORKER_SILENT_MS: 2_000 });
  const order = (buyerId: string) =>
    fetch(`${api.url}/api/flash-sales/${sale.id}/order`, { method: 'POST', headers: { 'x-user-id': buyerId } });
  expect((await order('before')).status).toBe(200);
  await allConfirmed(sale.id, 1, 10_000);
  way.mute();
  expect((await order('meanwhile')).status).toBe(503);
  await eventually('orders are taken again', 8_000, async () => (await order('after')).status === 200);
  await eventually('the worker confirms again', 20_000, async () => {
    const numbers = (await inventory.read(sale.id)).numbers;
    return numbers?.reserved === 0 && numbers.sold >= 2;
  });
  await api.close();
  await worker.stop();
  way.close();
});
