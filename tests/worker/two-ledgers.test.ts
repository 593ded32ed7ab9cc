/** Redis and ledger that do not belong together, and a sale that only Redis has. */
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { identifyLedger, readLedgerId } from '@flash-sale/core/ledger/ledger-id.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { OtherLedgerError } from '@flash-sale/core/runtime/unfit-server.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { createInventoryWatch } from '@flash-sale/worker/recovery/watch-inventories.ts';
import type { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import { auditHere, codesOf } from '../support/audited.ts';
import { openApi, useWorldPerTest } from '../support/fixtures.ts';
import { startApi, startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { workerSteps } from '../support/worker-steps.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const world = useWorldPerTest();
const SENTENCE =
  /belongs to another ledger .*DATABASE_URL of that system too, or another KEY_PREFIX.*stop.*delete the key test-\w+:\{system\}:ledger/;

/** Another ledger with the Redis and the prefix of this one. */
async function withOtherLedger(work: (other: World) => Promise<void>): Promise<void> {
  const own = await openWorld(inject('template'), { redisUrl: world.redisUrl });
  const { prefix, keys } = world;
  try {
    await work({ ...own, prefix, keys });
  } finally {
    await own.close();
  }
}

/** As if a failover or a wrong address had led all connections to the Redis of another system. */
async function leadElsewhere(owner: string): Promise<void> {
  await world.redis.set(world.keys.ledger, owner);
  const clients = String(await world.redis.client('LIST'));
  for (const [, id, name] of clients.matchAll(/^id=(\d+) .*? name=(\S*)/gm))
    if (/^(api|worker)-/.test(name ?? '')) await world.redis.client('KILL', 'ID', String(id)).catch(() => {});
}

/** Names of the connections that were reported, once each. */
const reported = (): string[] => {
  const lines = world.lines.filter(({ msg }) => String(msg).startsWith('this redis cannot be used'));
  return lines.map(({ connection }) => String(connection)).sort();
};

test.each<[string, (other: World) => Promise<unknown>]>([
  ['API', (other) => startProcess(other, 'api')],
  ['worker', (other) => startProcess(other, 'worker')],
  ['audit and recovery', (other) => connectStores(other, 'flash-sale-audit')],
])('the %s of a second ledger refuses to start on the same keys', async (_, start) => {
  await startApi(world);
  await withOtherLedger(async (other) => {
    await expect(start(other)).rejects.toThrow(SENTENCE);
  });
});

test('after a reconnect to the Redis of another ledger, nothing is sold, confirmed or rebuilt until it is ours again', async () => {
  const sale = await makeSale(world, { units: 10 });
  const api = await openApi(world);
  const steps = workerSteps(world);
  expect((await api.order(sale.id)).word).toBe('200 accepted');
  const own = (await readLedgerId(world.pool)) as string;

  await leadElsewhere('another');
  await eventually('the API notices', 5_000, () => reported().length === 2);
  expect((await api.order(sale.id)).word).toBe('503 INVENTORY_UNAVAILABLE');
  expect((await api.get('/health/ready')).status).toBe(503);
  expect(reported()).toEqual(['api-inventory', 'api-queue']);
  await expect(startWorkerHere(world)).rejects.toThrow(SENTENCE);

  await world.redis.set(world.keys.ledger, own);
  await startWorkerHere(world);
  await eventually('orders again', 5_000, async () => (await api.order(sale.id)).word === '200 accepted');
  await eventually('both are confirmed', 5_000, async () => (await steps.numbers(sale.id))?.sold === 2);

  await leadElsewhere('another');
  await eventually('API and worker notice', 5_000, () => reported().length >= 6);
  const { id } = await steps.order(sale.id);
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  await queue.add([await steps.batchOf(sale.id, id)]);
  await queue.close();
  await steps.otherInstance(sale.id);
  const told = (text: string, name?: string) =>
    world.lines.some(({ loop, msg }) => loop === name && String(msg).startsWith(text));
  await eventually('the order waits', 5_000, () => told('orders cannot be confirmed; they wait'));
  for (const loop of ['watch inventories', 'reap orphans', 'sync sales'])
    await eventually(`${loop} stops`, 5_000, () => told('the loop fails', loop));
  expect(await steps.outcomeOf(id)).toBeUndefined();
  expect(await steps.epochsOf(sale.id)).toEqual([]);
  await world.redis.set(world.keys.ledger, own);
  await eventually('rebuilt', 5_000, async () => (await steps.epochsOf(sale.id)).length === 1);
  await eventually('confirmed', 5_000, async () => (await steps.outcomeOf(id))?.status === 'confirmed');
});

test('without its queue connection an API takes orders, which the reaper delivers, and stops', async () => {
  const sale = await makeSale(world, { units: 10 });
  const api = await openApi(world);
  const steps = workerSteps(world);
  (api.connections.queue.bullQueue.opts.connection as Redis).disconnect();
  await startWorkerHere(world);
  expect((await api.order(sale.id)).word).toBe('200 accepted');
  await eventually('it is confirmed', 10_000, async () => (await steps.numbers(sale.id))?.sold === 1);
  await api.close();
});

test('keys that are moved under an open connection are noticed', async () => {
  const sale = await makeSale(world, { units: 10_000 });
  const api = await openApi(world);
  const own = (await world.redis.getset(world.keys.ledger, 'another')) as string;
  const word = async () => (await api.order(sale.id)).word;
  await eventually('refused', 5_000, async () => (await word()) === '503 INVENTORY_UNAVAILABLE');
  await world.redis.set(world.keys.ledger, own);
  await eventually('orders again', 5_000, async () => (await word()) === '200 accepted');
});

test('an emptied Redis gets the identity of its ledger again', async () => {
  await startWorkerHere(world, { WORKER_ALIVE_MS: 300 });
  const id = await readLedgerId(world.pool);
  expect(await world.redis.get(world.keys.ledger)).toBe(id);
  await world.redis.del(world.keys.ledger);
  await eventually('written again', 5_000, async () => (await world.redis.get(world.keys.ledger)) === id);
});

test('a new connection to another ledger is refused', async () => {
  await startApi(world);
  await withOtherLedger(async (other) => {
    await world.pool.query('UPDATE ledger_identity SET id = gen_random_uuid()');
    const pool = connectPostgres({ url: other.databaseUrl, size: 2, timeoutMs: 2_000, name: 'two', log: world.log });
    await other.pool.query('INSERT INTO ledger_identity DEFAULT VALUES');
    const first = await pool.connect();
    await other.pool.query('UPDATE ledger_identity SET id = gen_random_uuid()');
    await expect(pool.connect()).rejects.toThrow(OtherLedgerError);
    first.release();
    await pool.end();
  });
});

test.each<[string, string, string]>([
  ['Redis is proven to be its own', '', ''],
  ['it has its identity', 'DELETE FROM ledger_identity', 'INSERT INTO ledger_identity (id) VALUES ($1)'],
  ['that is its own', 'UPDATE ledger_identity SET id = gen_random_uuid()', 'UPDATE ledger_identity SET id = $1'],
  [
    'the tables are restored',
    'ALTER TABLE sales DROP CONSTRAINT sales_pkey CASCADE',
    'ALTER TABLE sales ADD PRIMARY KEY (id)',
  ],
])('a sale that the ledger lacks is no reason to reject before %s', async (_, spoil, mend) => {
  const sale = await makeSale(world, { units: 10 });
  const ledgerId = await identifyLedger(world.pool);
  let isProven = spoil !== '';
  const steps = workerSteps(world, async () => {
    if (!isProven) throw new OtherLedgerError('redis', 'not proven');
    return ledgerId;
  });
  const { id } = await steps.order(sale.id);
  const batch = await steps.batchOf(sale.id, id);
  await world.pool.query('DELETE FROM sales WHERE id = $1', [sale.id]);
  if (spoil) await world.pool.query(spoil);
  await expect(steps.confirm(batch)).rejects.toThrow(OtherLedgerError);
  const watch = createInventoryWatch(steps);
  watch.suspect(sale.id);
  await expect(watch.runOnce()).rejects.toThrow(OtherLedgerError);
  expect(await steps.outcomeOf(id)).toBeUndefined();
  expect((await steps.inventory.check(sale.id, sale.epoch)).condition).toBe('sound');
  if (mend) await world.pool.query(mend, mend.includes('$1') ? [ledgerId] : []);
  isProven = true;
  await steps.confirm(batch);
  expect(await steps.outcomeOf(id)).toEqual({ status: 'rejected', reason: 'LEDGER_UNKNOWN_SALE' });
});

test('no inventory is rebuilt before Redis is proven to be its own', async () => {
  const sale = await makeSale(world, { units: 10 });
  const steps = workerSteps(world, () => Promise.reject(new OtherLedgerError('redis', 'not proven')));
  await steps.otherInstance(sale.id);
  await expect(steps.watchOnce()).rejects.toThrow(OtherLedgerError);
  expect(await steps.epochsOf(sale.id)).toEqual([]);
});

test('an unknown sale that cannot be stopped keeps none behind it open', async () => {
  const sales = await Promise.all(['a', 'b', 'c'].map((id) => makeSale(world, { id })));
  const steps = workerSteps(world);
  await world.pool.query('DELETE FROM sales');
  const close: typeof steps.rebuild.close = async (saleId, epoch) => {
    if (saleId === 'b') throw new Error('b fails');
    await steps.rebuild.close(saleId, epoch);
  };
  await expect(steps.watchOnce({ rebuild: { ...steps.rebuild, close } })).rejects.toThrow('b fails');
  const found = await Promise.all(sales.map(({ id }) => steps.inventory.check(id, 0)));
  expect(found.map(({ condition }) => condition)).toEqual(['closed', 'ahead', 'closed']);
});

test.each(['one of its orders', 'the watch'])('[I3] a sale that only Redis has is stopped by %s', async (by) => {
  const sale = await makeSale(world, { id: 'tea.green', units: 10 });
  const api = await openApi(world);
  const steps = workerSteps(world);
  const [first, second] = [await steps.order(sale.id), await steps.order(sale.id)];
  const batch = await steps.batchOf(sale.id, first.id);
  await world.pool.query('DELETE FROM sales WHERE id = $1', [sale.id]);

  expect(codesOf(await auditHere(world)), 'the whole audit sees it').toContain('SALE_NOT_IN_LEDGER');
  if (by === 'the watch') await steps.watchOnce();
  else await steps.confirm(batch);
  await steps.watchOnce();
  // Sooner than the API would look by itself.
  await eventually('404', 2_000, async () => (await api.order(sale.id)).word === '404 SALE_NOT_FOUND');
  const rejected = { status: 'rejected', reason: 'LEDGER_UNKNOWN_SALE' };
  for (const { id } of [first, second]) expect(await steps.outcomeOf(id)).toEqual(rejected);
  expect(await world.redis.hlen(world.keys.sale(sale.id).reservations)).toBe(0);
});

test('a worker stops a sale that its ledger lacks at the first order, before it looks at all sales again', async () => {
  const sale = await makeSale(world);
  const api = await openApi(world);
  await startWorkerHere(world);
  await api.order(sale.id);
  const { numbers } = workerSteps(world);
  await eventually('it has looked at all of them', 5_000, async () => (await numbers(sale.id))?.sold === 1);
  const unknown = await makeSale(world, { units: 1_000 });
  await world.pool.query('DELETE FROM sales WHERE id = $1', [unknown.id]);
  await eventually('404', 5_000, async () => (await api.order(unknown.id)).word === '404 SALE_NOT_FOUND');
});
