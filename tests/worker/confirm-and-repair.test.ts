/** How the worker confirms and rejects orders, and repairs what was left half done. */
import { setTimeout as pause } from 'node:timers/promises';
import { type AcceptedOrder, newOrderId, type OrderBatch } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue, encodeJob, ORDER_QUEUE, type OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { useWorldPerTest } from '../support/fixtures.ts';
import { startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale, reserveOne } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorldPerTest();
let inventory: Inventory;
let queue: OrderQueue;
let workers: { stop(): Promise<void> }[];

beforeEach(() => {
  inventory = createInventory(world);
  queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  workers = [];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  await queue.close();
});

async function work(settings: Parameters<typeof startWorkerHere>[1] = {}): Promise<void> {
  workers.push(await startWorkerHere(world, settings));
}

async function accepted(saleId: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => newOrderId(saleId));
  for (const id of ids) await reserveOne(inventory, saleId, id, { buyerId: `buyer of ${id}` });
  return ids;
}

/** The job that carries these orders. */
async function batchOf(saleId: string, ids: readonly string[]): Promise<OrderBatch> {
  const found = await Promise.all(ids.map((id) => inventory.findReservation(saleId, id)));
  return { saleId, epoch: 1, orders: found as AcceptedOrder[] };
}

/** Matching inserts of orders fail with this error until the trigger is dropped. */
const failInserts = (trigger: string, code: string, when = "NEW.status = 'confirmed'") =>
  world.pool.query(`
    CREATE FUNCTION ${trigger}() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '${code}'; END $$;
    CREATE TRIGGER ${trigger} BEFORE INSERT ON orders FOR EACH ROW WHEN (${when}) EXECUTE FUNCTION ${trigger}()`);

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

describe('[I3] orphans', () => {
  test('[I4] [trap 10] orders that were never enqueued are confirmed under the ids that buyers were given', async () => {
    const sale = await makeSale(world, { units: 50 });
    const ids = await accepted(sale.id, 30);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 30 });
    const { rows } = await world.pool.query('SELECT id FROM orders ORDER BY id');
    expect(rows.map((row) => row.id)).toEqual([...ids].sort());
    expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 50, available: 20, reserved: 0, sold: 30 });
  });

  test('an order that a waiting job carries is not redelivered', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 2);
    await queue.bullQueue.pause();
    await queue.add([await batchOf(sale.id, ids.slice(0, 1))]);
    await work();
    await eventually(
      'the other one is enqueued',
      5_000,
      async () => (await queue.orderIdsInProgress())?.has(ids[1] as string) ?? false,
    );
    // Two more passes of the reaper.
    await pause(1_200);
    expect((await queue.bullQueue.getJobs(['waiting'])).length).toBe(2);
    await queue.bullQueue.resume();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 2 });
  });

  test('[trap 12] a job whose data is no JSON keeps no orphan from the queue, and the load can be read', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    const job = await queue.bullQueue.add(ORDER_QUEUE, {} as never, { delay: 3_600_000 });
    await world.redis.hset(queue.bullQueue.toKey(String(job.id)), 'data', 'no json {');
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
    expect(await queue.readLoad()).toMatchObject({ jobs: { delayed: 1 }, oldestAddedAt: job.timestamp });
  });

  test('orphans of a sale that ended long ago are confirmed', async () => {
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
  test('[trap 12] an unreadable job fails at once, and its orders are confirmed', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    await queue.bullQueue.add(ORDER_QUEUE, { sale_id: sale.id, orders: [{ order_id: 7 }] } as never);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 1 });
    expect(await queue.bullQueue.getFailedCount()).toBe(1);
  });

  test('[trap 12] an order that fails on every attempt is rejected with a reason, and its units are released once', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    // A fault of neither the data nor the connection, for confirmed orders only.
    await failInserts('refuse', 'P0001');
    await queue.bullQueue.add(ORDER_QUEUE, encodeJob(await batchOf(sale.id, [id])), {
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

  test('[trap 12] no order is rejected because the ledger cannot work: it is confirmed later', async () => {
    const sale = await makeSale(world);
    const [id] = (await accepted(sale.id, 1)) as [string];
    await failInserts('bad_disk', '58030');
    for (let i = 0; i < 8; i++) await inventory.countRedeliveries(sale.id, [id]);
    await queue.bullQueue.add(ORDER_QUEUE, encodeJob(await batchOf(sale.id, [id])), {
      attempts: 2,
      backoff: { type: 'fixed', delay: 20 },
    });
    await work({ ORPHAN_AGE_MS: 4_000 });
    await eventually('the last attempt failed', 5_000, async () => (await queue.bullQueue.getFailedCount()) === 1);
    expect(await statuses()).toEqual({});
    await world.pool.query('DROP TRIGGER bad_disk ON orders');
    await allEnded(sale.id, 20_000);
    expect(await statuses()).toEqual({ confirmed: 1 });
  });

  test('[trap 12] a full disk of the ledger uses up no attempt', async () => {
    const sale = await makeSale(world);
    await accepted(sale.id, 1);
    await failInserts('full_disk', '53100', 'true');
    await work();
    // Several times as long as the three tries of an attempt take.
    await pause(2_500);
    const jobs = await queue.bullQueue.getJobs(['active', 'wait', 'delayed', 'failed']);
    expect(jobs.map((job) => job.attemptsMade)).toEqual([0]);
    await world.pool.query('DROP TRIGGER full_disk ON orders');
    await allEnded(sale.id, 5_000);
    expect(await statuses()).toEqual({ confirmed: 1 });
  });

  test('[trap 19] one order that the ledger refuses for now does not delay the others of its job', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 4);
    await reserveOne(inventory, sale.id, newOrderId(sale.id), { buyerId: 'evil' });
    await failInserts('no_rights', '42501', "NEW.buyer_id = 'evil'");
    // With the usual waits between attempts this would take a minute.
    await work({ ORPHAN_AGE_MS: 300 });
    const retryAtOnce = setInterval(async () => {
      for (const job of await queue.bullQueue.getJobs(['delayed'])) await job.promote().catch(() => {});
    }, 50);
    await eventually('the others are confirmed', 15_000, async () => (await statuses()).confirmed === ids.length);
    clearInterval(retryAtOnce);
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ reserved: 1, sold: 4 });
    await world.pool.query('DROP TRIGGER no_rights ON orders');
  });

  test('[trap 12] an order that is redelivered too often is rejected', async () => {
    const sale = await makeSale(world);
    const ids = await accepted(sale.id, 2);
    // After eight redeliveries in which the worker died, no job is left.
    for (let i = 0; i < 8; i++) await inventory.countRedeliveries(sale.id, [ids[0] as string]);
    await work();
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ UNCONFIRMABLE: 1, confirmed: 1 });
  });
});

describe('a worker process', () => {
  test('that stops finishes its active job and leaves the rest to others', async () => {
    const sale = await makeSale(world, { units: 400 });
    const ids = await accepted(sale.id, 200);
    await queue.add([await batchOf(sale.id, ids)], 1);
    // The sixth order waits in its transaction for the test.
    const latch = await world.pool.connect();
    await latch.query('SELECT pg_advisory_lock(1)');
    await world.pool.query(`
      CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
      CREATE TRIGGER wait BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.id = '${ids[5]}') EXECUTE FUNCTION wait()`);
    const first = await startProcess(world, 'worker', { ORPHAN_AGE_MS: '60000', WORKER_CONCURRENCY: '1' });
    await eventually('it waits', 10_000, async () => {
      const { rowCount } = await latch.query(`SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`);
      return rowCount === 1;
    });
    const stopped = first.stop();
    await eventually('it is stopping', 5_000, () => first.output().includes('"stopping"'));
    await latch.query('SELECT pg_advisory_unlock(1)');
    latch.release();
    expect(await stopped).toBe(0);
    expect(await statuses()).toEqual({ confirmed: 6 });
    expect(await queue.bullQueue.getActiveCount()).toBe(0);
    await work({ ORPHAN_AGE_MS: 60_000 });
    await allEnded(sale.id);
    expect(await statuses()).toEqual({ confirmed: 200 });
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ sold: 200, available: 200 });
    // More than its own bounds together: 10 s each for a process to start, to stop and to confirm.
  }, 60_000);

  test('with a wrong setting, or without migrations, ends with a message and code 78', async () => {
    const refusal = (name: 'api' | 'worker', setting: Record<string, string>): Promise<string> =>
      startProcess(world, name, setting).then(
        () => 'it runs',
        (error: Error) => error.message,
      );
    const [many, open] = await Promise.all([
      refusal('worker', { DATABASE_POOL_SIZE: 'many' }),
      refusal('api', { ADMIN_TOKEN: '' }),
    ]);
    expect(many).toContain('ended (78) before it was ready:\nworker: DATABASE_POOL_SIZE is "many".');
    expect(open).toContain('ADMIN_TOKEN is not set.');
    await world.pool.query('DELETE FROM migrations');
    expect(await refusal('worker', {})).toMatch(/ended \(78\) .*\nworker: The ledger's tables are not up to date/);
  }, 60_000);
});
