/** The main job: a crowd, few units, and what the ledger has in the end. Real processes, real HTTP. */

import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision } from '@flash-sale/core/inventory/outcomes.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { afterEach, beforeEach, describe, expect, inject, test, vi } from 'vitest';
import { type Reply, sendCrowd, startCrowd, tallyOf, withCode } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { type ServiceProcess, startApi, startProcess } from '../support/running-system.ts';
import { makeSale, reservationText } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

// Its own bounds are inside: 15 s for a process to start, 30 s for all orders to end.
vi.setConfig({ testTimeout: 120_000 });

let world: World;
let processes: ServiceProcess[];
let port: string;
let url: string;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  processes = [];
  port = String(await freePort());
  url = `http://127.0.0.1:${port}`;
});
afterEach(async () => {
  await Promise.all(processes.map((process) => process.kill()));
  await world.close();
});

async function start(name: 'api' | 'worker', changed: Record<string, string> = {}): Promise<ServiceProcess> {
  const started = await startProcess(world, name, { PORT: port, ...changed });
  processes.push(started);
  return started;
}

/** I1, I2, I3: the inventory and the ledger agree, and whoever was told "accepted" has a confirmed order. */
async function expectConserved(sale: Sale, replies: readonly Reply[], withinMs = 30_000): Promise<void> {
  const inventory = createInventory(world);
  await eventually(
    'no order is under way',
    withinMs,
    async () => (await inventory.read(sale.id)).numbers?.reserved === 0,
  );
  const numbers = (await inventory.read(sale.id)).numbers;
  const ledger = await createSaleStore(world.pool).find(sale.id);
  expect(numbers).toEqual({
    allotment: sale.allotment,
    available: sale.allotment - (ledger?.sold ?? 0),
    reserved: 0,
    sold: ledger?.sold,
  });
  const { rows } = await world.pool.query<{ id: string; buyer_id: string; status: string }>(
    'SELECT id, buyer_id, status FROM orders WHERE sale_id = $1',
    [sale.id],
  );
  const confirmed = new Map(rows.filter((row) => row.status === 'confirmed').map((row) => [row.id, row.buyer_id]));
  expect(confirmed.size).toBe(ledger?.sold);
  expect(confirmed.size).toBeLessThanOrEqual(sale.allotment);
  for (const { orderId, buyerId } of withCode(replies, 'accepted')) expect(confirmed.get(orderId ?? '')).toBe(buyerId);
}

test('[I2] 1,500 buyers, 100 units, two APIs and two workers: exactly 100, and every refusal is truthful', async () => {
  const sale = await makeSale(world, { units: 100, perBuyerLimit: 1 });
  await Promise.all([
    start('api', { API_PROCESSES: '2' }),
    start('api', { API_PROCESSES: '2' }),
    start('worker'),
    start('worker'),
  ]);
  const crowd = await sendCrowd({ urls: [url], saleId: sale.id, buyers: 1_500, connections: 100 });
  expect(tallyOf(crowd)).toEqual({ '200 accepted': 100, '400 SOLD_OUT': 1_400 });
  await expectConserved(sale, crowd);
  expect((await createInventory(world).read(sale.id)).numbers).toMatchObject({ available: 0, sold: 100 });
});

test('[I2] the control: without the inventory the same crowd is accepted beyond the stock, and the ledger rejects the surplus', async () => {
  const sale = await makeSale(world, { units: 20 });
  const api = await startApi(world);
  const keys = world.keys.sale(sale.id);
  // What many systems do: read the stock, decide in the process, take a unit. Three steps, and the crowd is in between: here as
  // many as 40 of it have read before the first one takes.
  let readers = 0;
  const { promise: crowded, resolve: crowdIsThere } = Promise.withResolvers<void>();
  api.connections.inventory.reserve = async (_saleId, orders) => {
    const decisions = await Promise.all(
      orders.map(async (order): Promise<ReserveDecision> => {
        const available = Number(await world.redis.hget(keys.inventory, 'available'));
        readers += 1;
        if (readers === 40) crowdIsThere();
        await crowded;
        if (available < 1) return { outcome: { kind: 'sold_out' }, tokensLeft: 0, tokenInMs: 0 };
        await world.redis.hincrby(keys.inventory, 'available', -1);
        await world.redis.hincrby(keys.inventory, 'reserved', 1);
        const reservedAt = Date.now();
        await world.redis.hset(keys.reservations, order.orderId, reservationText(reservedAt, order.buyerId));
        await world.redis.hincrby(keys.inventory, 'orders', 1);
        return { outcome: { kind: 'reserved', reservedAt, available: 0, epoch: 1 }, tokensLeft: 0, tokenInMs: 0 };
      }),
    );
    return { decisions, permitsLeft: 0 };
  };
  const crowd = await sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 500, connections: 100 });
  const accepted = withCode(crowd, 'accepted').length;
  expect(accepted).toBeGreaterThan(20);
  await start('worker');
  await eventually('every order has ended', 20_000, async () => {
    const { rows } = await world.pool.query('SELECT count(*)::int AS ended FROM orders WHERE sale_id = $1', [sale.id]);
    return rows[0].ended === accepted;
  });
  const { rows } = await world.pool.query(
    'SELECT status, reason, count(*)::int AS n FROM orders GROUP BY 1, 2 ORDER BY 1',
  );
  expect(rows).toEqual([
    { status: 'confirmed', reason: null, n: 20 },
    { status: 'rejected', reason: 'LEDGER_SOLD_OUT', n: accepted - 20 },
  ]);
  await api.close();
});

describe('[I3] a process is killed in the middle of the crowd', () => {
  test('the API: nothing is lost, nothing is sold twice, and a buyer who repeats is not sold twice', async () => {
    const sale = await makeSale(world, { units: 400, perBuyerLimit: 1 });
    await start('worker');
    let api = await start('api');
    const killAt = [150];
    let restarting: Promise<void> = Promise.resolve();
    const crowd = await sendCrowd({
      urls: [url],
      saleId: sale.id,
      buyers: 2_000,
      connections: 60,
      retry: /BROKEN/,
      onReply: (count) => {
        if (killAt[0] === undefined || count < killAt[0]) return;
        killAt.shift();
        restarting = restarting.then(async () => {
          await api.kill();
          api = await start('api');
        });
      },
    });
    await restarting;
    expect(withCode(crowd, 'BROKEN').length).toBeGreaterThan(0);
    await expectConserved(sale, crowd);
    const { rows } = await world.pool.query(
      'SELECT count(*)::int AS orders, count(DISTINCT buyer_id)::int AS buyers FROM orders WHERE sale_id = $1',
      [sale.id],
    );
    expect(rows[0]).toEqual({ orders: 400, buyers: 400 });
  });

  test('the worker, twice: every accepted order is confirmed within 30 s', async () => {
    const sale = await makeSale(world, { units: 1_500 });
    await start('api');
    let worker = await start('worker', { WORKER_CONCURRENCY: '1' });
    const killAt = [200, 700];
    let restarting: Promise<void> = Promise.resolve();
    const crowd = await sendCrowd({
      urls: [url],
      saleId: sale.id,
      buyers: 2_000,
      connections: 60,
      onReply: (count) => {
        if (killAt[0] === undefined || count < killAt[0]) return;
        killAt.shift();
        restarting = restarting.then(async () => {
          await worker.kill();
          worker = await start('worker', { WORKER_CONCURRENCY: '1' });
        });
      },
    });
    await restarting;
    expect(tallyOf(crowd)).toEqual({ '200 accepted': 1_500, '400 SOLD_OUT': 500 });
    await expectConserved(sale, crowd);
  });
});

test('[trap 7] API and worker restarted twice under load: stock is never set again', async () => {
  const sale = await makeSale(world, { units: 100_000 });
  let [api, worker] = await Promise.all([start('api'), start('worker')]);
  const crowd = startCrowd({ urls: [url], saleId: sale.id, connections: 20, ordersPerSecond: 300 });
  for (let i = 0; i < 2; i++) {
    // Told to stop, not killed: every request that was begun is answered, every accepted order is enqueued.
    expect(await Promise.all([api.stop(), worker.stop()])).toEqual([0, 0]);
    [api, worker] = await Promise.all([start('api'), start('worker')]);
  }
  await crowd.stop();
  expect(crowd.replies.filter((reply) => reply.status >= 500)).toEqual([]);
  await expectConserved(sale, crowd.replies);
});

test('an API that is stopped enqueues what it accepted: no reaper is needed', async () => {
  const sale = await makeSale(world, { units: 500 });
  const api = await start('api');
  const crowd = await sendCrowd({ urls: [url], saleId: sale.id, buyers: 500, connections: 100 });
  expect(await api.stop()).toBe(0);
  await start('worker', { ORPHAN_AGE_MS: '3600000' });
  await expectConserved(sale, crowd, 10_000);
});
