/** Redis is silent, cut off or killed: the API answers within its budget, and all goes on by itself when it is back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const BUDGET_MS = 2_000;
/** A busy machine may take this long to notice that the budget is used up. Less than the budget: a request that waited for it twice is found out. */
const MARGIN_MS = 1_500;

let folder: string;
let server: PrivateServer;
let world: World;
let api: RunningApi;
let worker: { stop(): Promise<void> };
let wayToLedger: TcpProxy;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-redis-'));
  const distFolder = process.env.TEST_REDIS_DIST;
  server = await startPrivateRedis({ folder, ...(distFolder ? { distFolder } : {}) });
  world = await openWorld(inject('template'), server.url);
  const ledger = new URL(world.databaseUrl);
  wayToLedger = await TcpProxy.listen(await freePort(), Number(ledger.port));
  ledger.port = String(wayToLedger.port);
  api = await startApi(world, { REQUEST_TIMEOUT_MS: BUDGET_MS, DATABASE_URL: ledger.href });
  worker = await startWorkerHere(world);
});
afterAll(async () => {
  await Promise.all([api.close(), worker.stop()]);
  await wayToLedger.close();
  await world.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function order(
  saleId: string,
  buyerId: string,
): Promise<{ status: number; body: AnyJson; milliseconds: number; retryAfter: string | null }> {
  const startedAt = performance.now();
  const response = await fetch(`${api.url}/api/flash-sales/${saleId}/order`, {
    method: 'POST',
    headers: { 'x-user-id': buyerId },
  });
  const body = await response.json();
  return {
    status: response.status,
    body,
    milliseconds: performance.now() - startedAt,
    retryAfter: response.headers.get('retry-after'),
  };
}

const health = async (): Promise<number> => (await fetch(`${api.url}/health/ready`)).status;

test('[trap 18] silent: 503 within the budget, with the id of the order that may have been taken, and it is', async () => {
  const sale = await makeSale(world);
  expect((await order(sale.id, 'before')).status).toBe(200);
  process.kill(server.pid as number, 'SIGSTOP');
  const unknown = await order(sale.id, 'meanwhile');
  expect([unknown.status, unknown.body.code, unknown.retryAfter]).toEqual([503, 'OUTCOME_UNKNOWN', '1']);
  expect(unknown.body.retryable).toBe(false);
  expect(unknown.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  expect(await health()).toBe(503);
  process.kill(server.pid as number, 'SIGCONT');
  await eventually('orders are taken again', 5_000, async () => (await order(sale.id, 'after')).status === 200);
  // [trap 11] Redis had received the question: nobody gave the unit back, and the reaper brings the order to its end.
  const asked = () =>
    fetch(`${api.url}/api/orders/${unknown.body.order_id}`, { headers: { 'x-user-id': 'meanwhile' } }).then(
      (response) => response.json(),
    );
  await eventually(
    'the order of unknown outcome is confirmed',
    10_000,
    async () => ((await asked()) as { status: string }).status === 'confirmed',
  );
});

test('an order is read within one budget: with both silent a 503, with Redis silent from the ledger', async () => {
  const sale = await makeSale(world);
  const read = async (id: string) => {
    const startedAt = performance.now();
    const response = await fetch(`${api.url}/api/orders/${id}`, { headers: { 'x-user-id': 'ann' } });
    const { status, code } = (await response.json()) as { status: string | number; code?: string };
    return { word: code ?? status, milliseconds: performance.now() - startedAt };
  };
  const placed = await order(sale.id, 'ann');
  const { order_id: id } = placed.body;
  await eventually('it is confirmed', 10_000, async () => (await read(id)).word === 'confirmed');
  const isReadAgain = () =>
    eventually('it is read again', 15_000, async () => {
      return (await read(id)).word === 'confirmed' && (await health()) === 200;
    });
  // Both at once, on connections that work: one that was found out already would be refused without waiting.
  process.kill(server.pid as number, 'SIGSTOP');
  wayToLedger.hold('down');
  try {
    const fromNobody = await read(id);
    expect(fromNobody.word).toBe('LEDGER_UNAVAILABLE');
    expect(fromNobody.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  } finally {
    await wayToLedger.heal();
    process.kill(server.pid as number, 'SIGCONT');
  }
  await isReadAgain();
  process.kill(server.pid as number, 'SIGSTOP');
  try {
    const fromLedger = await read(id);
    expect(fromLedger.word).toBe('confirmed');
    expect(fromLedger.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  } finally {
    process.kill(server.pid as number, 'SIGCONT');
  }
  await isReadAgain();
}, 40_000);

test('[trap 9] [trap 38] killed and started again: 503 meanwhile, then API and worker go on by themselves', async () => {
  const sale = await makeSale(world);
  await order(sale.id, 'before');
  await eventually(
    'it is committed',
    5_000,
    async () => (await createInventory(world).read(sale.id)).numbers?.sold === 1,
  );
  // The append-only file reaches the disk every second. A killed process loses less, but this test is not about that.
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  process.kill(server.pid as number, 'SIGKILL');
  let refused = await order(sale.id, 'meanwhile');
  for (let i = 0; i < 20 && refused.body.code === 'OUTCOME_UNKNOWN'; i++) refused = await order(sale.id, 'meanwhile');
  expect([refused.status, refused.body.code]).toEqual([503, 'INVENTORY_UNAVAILABLE']);
  expect(refused.body.detail).toContain('Nothing was taken');
  // No second way sells it: the ledger has nobody's order of that time.
  const { rows } = await world.pool.query(
    `SELECT count(*)::int AS n FROM orders WHERE sale_id = $1 AND buyer_id = 'meanwhile'`,
    [sale.id],
  );
  expect(rows[0].n).toBe(0);
  expect(refused.milliseconds).toBeLessThan(BUDGET_MS + MARGIN_MS);
  await eventually('orders are taken again', 15_000, async () => (await order(sale.id, 'after')).status === 200);
  await eventually('the worker confirms again', 15_000, async () => {
    const numbers = (await createInventory(world).read(sale.id)).numbers;
    return numbers?.reserved === 0 && numbers.sold >= 2;
  });
});

test('connections cut: the next requests are answered, and the worker takes jobs again', async () => {
  const sale = await makeSale(world, { units: 100 });
  for (let i = 0; i < 5; i++) {
    await world.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await eventually(
      'orders are taken again',
      5_000,
      async () => (await order(sale.id, `buyer ${i}`.replace(' ', '-'))).status === 200,
    );
  }
  await eventually('all is confirmed', 15_000, async () => {
    const numbers = (await createInventory(world).read(sale.id)).numbers;
    return numbers?.reserved === 0 && numbers.sold >= 5;
  });
});
