/** A crowd orders few units from real processes, and the ledger has exactly those. */
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision } from '@flash-sale/core/inventory/outcomes.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { expect, vi } from 'vitest';
import { type Reply, sendCrowd, startCrowd, tallyOf, withCode } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { startApi, startProcess } from '../support/running-system.ts';
import { makeSale, reservationText } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { eventually, type World } from '../support/world.ts';

// The bounds are inside: 60 s for a process to start, 30 s for all orders to end.
vi.setConfig({ testTimeout: 120_000 });

/** [I1] [I2] [I3] Inventory and ledger agree, and every accepted order is confirmed. */
async function expectConserved(world: World, sale: Sale, replies: readonly Reply[], withinMs = 30_000): Promise<void> {
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

test('[I2] 1,500 buyers, 100 units, two APIs and two workers: exactly 100, and every refusal is truthful', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 100, perBuyerLimit: 1 });
  const shared = { API_PROCESSES: '2', PORT: String(await freePort()) };
  const [api] = await Promise.all([
    startProcess(world, 'api', shared),
    startProcess(world, 'api', shared),
    startProcess(world, 'worker'),
    startProcess(world, 'worker'),
  ]);
  const crowd = await sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 1_500, connections: 100 });
  expect(tallyOf(crowd)).toEqual({ '200 accepted': 100, '400 SOLD_OUT': 1_400 });
  await expectConserved(world, sale, crowd);
  expect((await createInventory(world).read(sale.id)).numbers).toMatchObject({ available: 0, sold: 100 });
});

test('[I2] control: without the inventory, orders beyond the stock are accepted, and the ledger rejects them', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 20 });
  const api = await startApi(world);
  const keys = world.keys.sale(sale.id);
  // Read the stock, decide here, take a unit: 40 orders read before the first one takes.
  let readers = 0;
  const { promise: crowded, resolve: admit } = Promise.withResolvers<void>();
  api.connections.inventory.reserve = async (_saleId, orders) => {
    const decisions = await Promise.all(
      orders.map(async (order): Promise<ReserveDecision> => {
        const available = Number(await world.redis.hget(keys.inventory, 'available'));
        readers += 1;
        if (readers === 40) admit();
        await crowded;
        if (available < 1) return { outcome: { kind: 'sold_out' }, tokensLeft: 0, tokenInMs: 0 };
        await world.redis.hincrby(keys.inventory, 'available', -1);
        await world.redis.hincrby(keys.inventory, 'reserved', 1);
        const reservedAt = Date.now();
        await world.redis.hset(keys.reservations, order.id, reservationText(reservedAt, order.buyerId));
        await world.redis.hincrby(keys.inventory, 'orders', 1);
        return { outcome: { kind: 'reserved', reservedAt, available: 0, epoch: 1 }, tokensLeft: 0, tokenInMs: 0 };
      }),
    );
    return { decisions, permitsLeft: 0 };
  };
  const crowd = await sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 500, connections: 100 });
  const accepted = withCode(crowd, 'accepted').length;
  expect(accepted).toBeGreaterThan(20);
  await startProcess(world, 'worker');
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
});

test('[I3] [I6] API and worker are killed during the crowd: nothing is lost, and a buyer who repeats gets one unit', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 600, perBuyerLimit: 1 });
  const settings = { PORT: String(await freePort()), WORKER_CONCURRENCY: '1', JOB_LOCK_MS: '2000' };
  const start = (name: 'api' | 'worker') => startProcess(world, name, settings);
  const running = { api: await start('api'), worker: await start('worker') };
  const kills: ['api' | 'worker', number][] = [
    ['worker', 100],
    ['api', 200],
    ['worker', 400],
  ];
  const restarts = { api: Promise.resolve(), worker: Promise.resolve() };
  const crowd = await sendCrowd({
    urls: [running.api.url],
    saleId: sale.id,
    buyers: 2_000,
    connections: 60,
    retry: /BROKEN/,
    onReply(count) {
      const [name, at] = kills[0] ?? ['api', Number.POSITIVE_INFINITY];
      if (count < at) return;
      kills.shift();
      restarts[name] = restarts[name].then(async () => {
        await running[name].kill();
        running[name] = await start(name);
      });
    },
  });
  await Promise.all(Object.values(restarts));
  expect(kills).toEqual([]);
  expect(withCode(crowd, 'BROKEN').length).toBeGreaterThan(0);
  await expectConserved(world, sale, crowd);
  const { rows } = await world.pool.query(
    'SELECT count(*)::int AS orders, count(DISTINCT buyer_id)::int AS buyers FROM orders WHERE sale_id = $1',
    [sale.id],
  );
  expect(rows[0]).toEqual({ orders: 600, buyers: 600 });
});

test('[trap 7] API and worker restart under load: stock is not set again, and orders are enqueued without the reaper', async ({
  world,
}) => {
  const sale = await makeSale(world, { units: 100_000 });
  const settings = { PORT: String(await freePort()), ORPHAN_AGE_MS: '3600000' };
  const start = () => Promise.all([startProcess(world, 'api', settings), startProcess(world, 'worker', settings)]);
  const [api, worker] = await start();
  const crowd = startCrowd({ urls: [api.url], saleId: sale.id, connections: 20, ordersPerSecond: 300 });
  const untilAccepted = (count: number) =>
    eventually(`${count} orders are accepted`, 20_000, () => crowd.accepted.size >= count);
  await untilAccepted(100);
  // On SIGTERM every accepted order is enqueued.
  expect(await Promise.all([api.stop(), worker.stop()])).toEqual([0, 0]);
  const before = crowd.accepted.size;
  await start();
  await untilAccepted(before + 100);
  await crowd.stop();
  expect(crowd.replies.filter((reply) => reply.status >= 500)).toEqual([]);
  await expectConserved(world, sale, crowd.replies, 10_000);
});
