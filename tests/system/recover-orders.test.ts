/** pnpm recover:orders: orders that Redis lost are found in the API's log, and end under the ids that their buyers have. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createStockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { makeSale } from '@flash-sale/core/testing/sales.ts';
import { eventually, openWorld, type World } from '@flash-sale/core/testing/world.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type RunningApi, startApi, startWorkerHere } from '../running-system.ts';

const script = fileURLToPath(new URL('../../scripts/recover-orders.ts', import.meta.url));

let world: World;
let api: RunningApi;
let folder: string;
beforeAll(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-log-'));
});
afterAll(async () => {
  await api.close();
  await world.close();
  rmSync(folder, { recursive: true, force: true });
});

function recover(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = {
    PATH: process.env.PATH,
    REDIS_URL: world.redisUrl,
    DATABASE_URL: world.databaseUrl,
    KEY_PREFIX: world.prefix,
    DATA_DIR: folder,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

test('[I3] [trap 17] found, confirmed while there are units, once however often it is typed; a later key of the same buyer stands', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 2 });
  const order = async (buyerId: string, key?: string): Promise<string> => {
    const headers = { 'x-user-id': buyerId, ...(key ? { 'idempotency-key': key } : {}) };
    const response = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, { method: 'POST', headers });
    return ((await response.json()) as { order_id: string }).order_id;
  };
  const ids = [
    await order('ann'),
    await order('bob'),
    await order('cid', 'k1'),
    await order('dan'),
    await order('dan'),
  ];
  const queue = createOrderQueue({
    redis: world.redis.duplicate({ maxRetriesPerRequest: null }),
    prefix: world.keys.queuePrefix,
  });
  await eventually('all are handed over', 5_000, async () => (await queue.bullQueue.getWaitingCount()) > 0);
  await new Promise((resolve) => setTimeout(resolve, 300));
  // As FLUSHALL: neither keys nor jobs are left.
  await queue.bullQueue.obliterate({ force: true });
  await queue.close();
  const keys = world.keys.sale(sale.id);
  await world.redis.del(keys.gate, keys.reservations, keys.unsettled, keys.buyers, keys.orderKeys);
  const worker = await startWorkerHere(world);
  const gate = createStockGate(world);
  await eventually('the gate is open again', 5_000, async () => (await gate.read(sale.id)).numbers !== null);
  const repeated = await order('cid', 'k1');
  const again = await order('dan');

  const log = join(folder, 'api.log');
  const lines = world.lines.map((line) => JSON.stringify(line));
  writeFileSync(log, [`no json "order accepted"`, ...lines, '{"msg":"order accepted","order_id":"cut o'].join('\n'));
  const dry = await recover('--dry-run', log);
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining('7 accepted orders in the log, 5 of them lost')]);
  for (const id of ids) expect(dry.stdout).toContain(id);
  expect((await gate.read(sale.id)).numbers?.sold).toBeLessThanOrEqual(2);

  const first = await recover(log);
  expect(first, first.stderr).toMatchObject({ code: 0 });
  const { rows } = await world.pool.query('SELECT id, coalesce(reason, status) AS word FROM orders');
  const words = new Map(rows.map((row) => [row.id, row.word]));
  expect(ids.map((id) => words.get(id))).toEqual([
    'confirmed',
    'confirmed',
    'DUPLICATE_REQUEST',
    expect.stringMatching(/^(confirmed|OVER_CAP_AFTER_LOSS)$/),
    expect.stringMatching(/^(confirmed|OVER_CAP_AFTER_LOSS)$/),
  ]);
  expect([words.get(repeated), words.get(again)]).toEqual(['confirmed', 'confirmed']);
  // The cap of two is kept: of the two lost orders one finds room beside the later one.
  expect([ids[3], ids[4]].filter((id) => words.get(id as string) === 'confirmed')).toHaveLength(1);
  await eventually('the gate has followed', 5_000, async () => (await gate.read(sale.id)).numbers?.reserved === 0);
  expect((await gate.read(sale.id)).numbers).toEqual({ allotment: 10, available: 5, reserved: 0, sold: 5 });

  const second = await recover(log);
  expect([second.code, second.stdout]).toEqual([0, expect.stringContaining(', 0 of them lost')]);
  await worker.stop();
}, 40_000);

test('nothing to read, no file, no servers: a sentence, and exit code 2', async () => {
  expect(await recover()).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: pnpm recover:orders') });
  expect(await recover(join(folder, 'none.log'))).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('none.log'),
  });
  expect(await recover('--what')).toMatchObject({ code: 2 });
});
