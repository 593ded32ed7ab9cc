/** The worker: confirming, giving up, and what its loops mend. Each test breaks the order's way at another place. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue, encodeJob, ORDER_QUEUE, type OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale, reserveOne } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;
let queue: OrderQueue;
let workers: { stop(): Promise<void> }[];

beforeEach(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
  queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  workers = [];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await queue.close();
  await world.close();
});

async function work(settings: Parameters<typeof startWorkerHere>[1] = {}): Promise<void> {
  workers.push(await startWorkerHere(world, settings));
}

async function accepted(saleId: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => newOrderId(saleId));
  for (const id of ids) await reserveOne(inventory, saleId, id, { buyerId: `buyer of ${id}` });
  return ids;
}

const statuses = async (): Promise<Record<string, number>> => {
  const { rows } = await world.pool.query(
    'SELECT coalesce(reason, status) AS ended, count(*)::int AS n FROM orders GROUP BY 1',
  );
  return Object.fromEntries(rows.map((row) => [row.ended, row.n]));
};
const allEnded = (saleId: string, withinMs = 10_000): Promise<void> =>
  eventually(
    'no order is reserved any more',
    withinMs,
    async () => (await inventory.read(saleId)).numbers?.reserved === 0,
  );

describe('orphans [I3]', () => {
  test('[I4] [trap 10] reserved and never enqueued: confirmed all the same, with the order id that the buyer was given', async () => {
    const sale = await makeSale(world, { units: 50 });
    const ids = await accepted(sale.id, 30);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 30 });
    const { rows } = await world.pool.query('SELECT id FROM orders ORDER BY id');
    expect(rows.map((row) => row.id)).toEqual([...ids].sort());
    expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 50, available: 20, reserved: 0, sold: 30 });
  });

  test('with three workers reaping at once they are still confirmed once', async () => {
    const sale = await makeSale(world, { units: 50 });
    await accepted(sale.id, 40);
    await Promise.all([work(), work(), work()]);
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 40 });
    expect(await createSaleStore(world.pool).find(sale.id)).toMatchObject({ sold: 40 });
  });

  test('confirmed and never committed to the inventory: the reaper does it, the ledger stays', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    const order = await inventory.findReservation(sale.id, id);
    if (!order || order === 'recovering') throw new Error('no reservation');
    await createOrderStore(world.pool).confirm({ saleId: sale.id, epoch: 1, orders: [order] }, inventory.readmit);
    await work();
    await allEnded(sale.id);
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ sold: 1, available: 9 });
    expect(await queue.bullQueue.getJobCountByTypes('completed')).toBe(0);
  });

  test('[trap 11] the job runs although its add seemed to fail: one order, one unit', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    const order = await inventory.findReservation(sale.id, id);
    if (!order || order === 'recovering') throw new Error('no reservation');
    await queue.add([{ saleId: sale.id, epoch: 1, orders: [order] }]);
    await queue.add([{ saleId: sale.id, epoch: 1, orders: [order] }]);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
    expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 10, available: 9, reserved: 0, sold: 1 });
  });

  test('an order that a waiting job carries is not redelivered', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 2);
    const order = await inventory.findReservation(sale.id, ids[0] as string);
    if (!order || order === 'recovering') throw new Error('no reservation');
    await queue.bullQueue.pause();
    await queue.add([{ saleId: sale.id, epoch: 1, orders: [order] }]);
    await work();
    await eventually(
      'the other one is enqueued',
      5_000,
      async () => (await queue.orderIdsInProgress())?.has(ids[1] as string) ?? false,
    );
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect((await queue.bullQueue.getJobs(['waiting'])).length).toBe(2);
    await queue.bullQueue.resume();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 2 });
  });

  test('[trap 12] beside a job whose data is not even JSON orphans are enqueued, and the load is read', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    const job = await queue.bullQueue.add(ORDER_QUEUE, {} as never, { delay: 3_600_000 });
    await world.redis.hset(queue.bullQueue.toKey(String(job.id)), 'data', 'no json {');
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
    expect(await queue.readLoad()).toMatchObject({ jobs: { delayed: 1 }, oldestAddedAt: job.timestamp });
  });

  test('a sale that ended long ago leaves no orphan behind', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    await world.pool.query(
      `UPDATE sales SET starts_at = now() - interval '9 days', ends_at = now() - interval '8 days'`,
    );
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
  });
});

describe('orders that cannot be confirmed', () => {
  test('[trap 12] a job that cannot be read fails at once, and what it should have carried is confirmed', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    await queue.bullQueue.add(ORDER_QUEUE, { sale_id: sale.id, orders: [{ order_id: 7 }] } as never);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
    expect(await queue.bullQueue.getFailedCount()).toBe(1);
  });

  test('[trap 12] every attempt fails although the ledger answers: rejected with a reason, units released once', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    // A fault that is neither the data's nor the connection's: only orders that are confirmed run into it.
    await world.pool.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.status = 'confirmed' THEN RAISE EXCEPTION 'broken' USING ERRCODE = 'P0001'; END IF; RETURN NEW; END $$;
      CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()`);
    const order = await inventory.findReservation(sale.id, id);
    if (!order || order === 'recovering') throw new Error('no reservation');
    await queue.bullQueue.add(ORDER_QUEUE, encodeJob({ saleId: sale.id, epoch: 1, orders: [order] }), {
      attempts: 3,
      backoff: { type: 'fixed', delay: 50 },
    });
    await work({ ORPHAN_AGE_MS: 60_000 });
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ UNCONFIRMABLE: 1 });
    expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 10, available: 10, reserved: 0, sold: 0 });
    expect(
      world.lines.some(
        (line) => line.msg === 'order rejected' && line.reason === 'UNCONFIRMABLE' && line.order_id === id,
      ),
    ).toBe(true);
  });

  test('[trap 12] the last attempt fails because the ledger cannot work: nobody is rejected, and all is confirmed later', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    await world.pool.query(`
      CREATE FUNCTION bad_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no block' USING ERRCODE = '58030'; END $$;
      CREATE TRIGGER bad_disk BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.status = 'confirmed') EXECUTE FUNCTION bad_disk()`);
    const order = await inventory.findReservation(sale.id, id);
    if (!order || order === 'recovering') throw new Error('no reservation');
    for (let i = 0; i < 8; i++) await inventory.countRedeliveries(sale.id, [id]);
    await queue.bullQueue.add(ORDER_QUEUE, encodeJob({ saleId: sale.id, epoch: 1, orders: [order] }), {
      attempts: 2,
      backoff: { type: 'fixed', delay: 20 },
    });
    await work({ ORPHAN_AGE_MS: 1_500 });
    await eventually('the last attempt failed', 5_000, async () => (await queue.bullQueue.getFailedCount()) === 1);
    expect(await statuses()).toEqual({});
    await world.pool.query('DROP TRIGGER bad_disk ON orders');
    await allEnded(sale.id, 20_000);
    expect(await statuses()).toEqual({ confirmed: 1 });
  });

  test('[trap 12] a ledger that answers and has no room on its disk is waited for: no attempt is used up', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    await world.pool.query(`
      CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER full_disk BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION full_disk()`);
    await work();
    // Several times as long as the three tries of an attempt take.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const jobs = await queue.bullQueue.getJobs(['active', 'wait', 'delayed', 'failed']);
    expect(jobs.map((job) => job.attemptsMade)).toEqual([0]);
    await world.pool.query('DROP TRIGGER full_disk ON orders');
    await allEnded(sale.id, 5_000);
    expect(await statuses()).toEqual({ confirmed: 1 });
  });

  test('[trap 19] one order that the ledger cannot take for now does not keep the others of its job waiting', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 4);
    await reserveOne(inventory, sale.id, newOrderId(sale.id), { buyerId: 'evil' });
    await world.pool.query(`
      CREATE FUNCTION no_rights() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no rights' USING ERRCODE = '42501'; END $$;
      CREATE TRIGGER no_rights BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.buyer_id = 'evil') EXECUTE FUNCTION no_rights()`);
    // The waits between attempts would make this a test of a minute.
    await work({ ORPHAN_AGE_MS: 300 });
    const retryAtOnce = setInterval(async () => {
      for (const job of await queue.bullQueue.getJobs(['delayed'])) await job.promote().catch(() => {});
    }, 50);
    await eventually('the others are confirmed', 15_000, async () => (await statuses()).confirmed === ids.length);
    clearInterval(retryAtOnce);
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ reserved: 1, sold: 4 });
    await world.pool.query('DROP TRIGGER no_rights ON orders');
  });

  test('[I2] the ledger has no room although the inventory had: rejected, and the ledger is never over its allotment', async () => {
    const sale = await makeSale(world, { units: 10 });
    await accepted(sale.id, 10);
    await world.pool.query('UPDATE sales SET allotment = 6 WHERE id = $1', [sale.id]);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 6, LEDGER_SOLD_OUT: 4 });
  });

  test('[trap 12] an order that is redelivered too often is rejected', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 2);
    // Eight redeliveries whose workers died each time; no job is left.
    for (let i = 0; i < 8; i++) await inventory.countRedeliveries(sale.id, [ids[0] as string]);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ UNCONFIRMABLE: 1, confirmed: 1 });
  });
});

describe('a worker process', () => {
  test('that is told to stop finishes the job at work and leaves the rest to others', async () => {
    const sale = await makeSale(world, { units: 400 });
    const ids = await accepted(sale.id, 200);
    const orders = (await Promise.all(ids.map((id) => inventory.findReservation(sale.id, id)))).filter(
      (order) => order !== null && order !== 'recovering',
    );
    await queue.add([{ saleId: sale.id, epoch: 1, orders }], 1);
    const first = await startProcess(world, 'worker', { ORPHAN_AGE_MS: '60000', WORKER_CONCURRENCY: '1' });
    await eventually('it has begun', 10_000, async () => ((await statuses()).confirmed ?? 0) > 5);
    expect(await first.stop()).toBe(0);
    expect((await statuses()).confirmed).toBeLessThan(200);
    expect(await queue.bullQueue.getActiveCount()).toBe(0);
    await work({ ORPHAN_AGE_MS: 60_000 });
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 200 });
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ sold: 200, available: 200 });
  });

  test('with a wrong setting ends with a sentence and code 78', async () => {
    const refusal = (name: 'api' | 'worker', setting: Record<string, string>): Promise<string> =>
      startProcess(world, name, setting).then(
        () => 'it runs',
        (error: Error) => error.message,
      );
    const [many, small, open] = await Promise.all([
      refusal('worker', { DATABASE_POOL_SIZE: 'many' }),
      refusal('worker', { DATABASE_POOL_SIZE: '0' }),
      refusal('api', { ADMIN_TOKEN: '' }),
    ]);
    expect(many).toContain('ended (78) before it was ready:\nworker: DATABASE_POOL_SIZE is "many".');
    expect(small).toContain('DATABASE_POOL_SIZE is "0".');
    expect(open).toContain('ADMIN_TOKEN is not set.');
    await world.pool.query('DELETE FROM migrations');
    expect(await refusal('worker', {})).toMatch(/ended \(78\) .*\nworker: The ledger's tables are not up to date/);
  }, 60_000);
});
