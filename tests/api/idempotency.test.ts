/** Idempotency-Key: a buyer whose reply was lost asks again and gets the same order. Over real HTTP, with a real kill. */
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { type RunningApi, startApi, startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let other: RunningApi;
let worker: { stop(): Promise<void> };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  [api, other, worker] = await Promise.all([startApi(world), startApi(world), startWorkerHere(world)]);
});
afterAll(async () => {
  await Promise.all([api.close(), other.close(), worker.stop()]);
  await world.close();
});

interface Answer {
  status: number;
  replayed: string | null;
  body: AnyJson;
}

async function order(saleId: string, key: string, body?: unknown, url = api.url, buyer = 'ann'): Promise<Answer> {
  const response = await fetch(`${url}/api/flash-sales/${saleId}/order`, {
    method: 'POST',
    headers: { 'x-user-id': buyer, 'idempotency-key': key, 'content-type': 'application/json' },
    body: body === undefined ? '' : JSON.stringify(body),
  });
  return {
    status: response.status,
    replayed: response.headers.get('idempotency-replayed'),
    body: await response.json(),
  };
}

test('50 parallel requests with one key to two API processes are one order, and each reply names it', async () => {
  const sale = await makeSale(world, { units: 60 });
  const urls = [api.url, other.url];
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => order(sale.id, 'one', undefined, urls[i % 2])),
  );
  expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([200]));
  expect(new Set(answers.map((answer) => answer.body.order_id)).size).toBe(1);
  expect(answers.filter((answer) => answer.replayed === 'true')).toHaveLength(49);
  await eventually(
    'it is confirmed',
    5_000,
    async () => (await createInventory(world).read(sale.id)).numbers?.sold === 1,
  );
  const again = await order(sale.id, 'one', { quantity: 1 });
  expect([again.status, again.body.order_id]).toEqual([200, answers[0]?.body.order_id]);
  const { rows } = await world.pool.query('SELECT id, idempotency_key FROM orders WHERE sale_id = $1', [sale.id]);
  expect(rows).toEqual([{ id: answers[0]?.body.order_id, idempotency_key: 'one' }]);
});

test('quoted and bare are the same key; an invalid key is refused', async () => {
  const sale = await makeSale(world);
  const bare = await order(sale.id, 'a-key');
  expect((await order(sale.id, '"a-key"')).body.order_id).toBe(bare.body.order_id);
  for (const key of ['x'.repeat(129), '"', '"a" b"', 'caf\u00e9']) {
    const { status, body } = await order(sale.id, key);
    expect([status, body.code], key).toEqual([400, 'INVALID_IDEMPOTENCY_KEY']);
  }
  expect((await createInventory(world).read(sale.id)).numbers?.available).toBe(9);
});

test.each([
  [
    ['ann', 'k'],
    ['bob', 'k'],
  ],
  [
    ['a', 'b c'],
    ['a', 'b  c'],
  ],
  [
    ['a|b', 'c'],
    ['a', 'b|c'],
  ],
  [
    ['a:b', 'c'],
    ['a', 'b:c'],
  ],
  [
    ['x', '1'],
    ['x1', ''],
  ],
] as [[string, string], [string, string]][])('buyer and key %j and %j are two orders', async (...pairs) => {
  const sale = await makeSale(world);
  const answers = await Promise.all(
    pairs.map(([buyer, key]) => order(sale.id, key || 'other', undefined, api.url, buyer)),
  );
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  expect(answers[0]?.body.order_id).not.toBe(answers[1]?.body.order_id);
});

test('another body with the same key: 422, and nothing is taken', async () => {
  const sale = await makeSale(world);
  await order(sale.id, 'k', { quantity: 1 });
  const other = await order(sale.id, 'k', { quantity: 2 });
  expect([other.status, other.body.code, other.body.retryable]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED', false]);
  expect((await createInventory(world).read(sale.id)).numbers?.available).toBe(9);
});

test('a retry after a lost reply gets the order, and there is one', async () => {
  const sale = await makeSale(world);
  const { inventory } = api.connections;
  const { reserve } = inventory;
  // The script ran, and its answer was lost.
  inventory.reserve = async (...args) => {
    await reserve(...args);
    throw new Error('Command timed out');
  };
  const lost = await order(sale.id, 'k');
  inventory.reserve = reserve;
  expect(lost.body).toMatchObject({ status: 503, code: 'OUTCOME_UNKNOWN', retryable: true });
  const again = await order(sale.id, 'k');
  expect([again.status, again.replayed]).toEqual([200, 'true']);
  expect((await order(sale.id, 'k')).body.order_id).toBe(again.body.order_id);
  await eventually(
    'it is confirmed',
    10_000,
    async () => (await createInventory(world).read(sale.id)).numbers?.sold === 1,
  );
});

test('an API is killed under load: buyers retry with their keys, and none has two orders', async () => {
  const sale = await makeSale(world, { units: 500 });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let process = await startProcess(world, 'api', { PORT: String(port) });
  const askUntilAnswered = async (key: string): Promise<string> => {
    for (let tries = 0; ; tries++) {
      const answer = await order(sale.id, key, undefined, url).catch(() => null);
      if (answer?.status === 200) return answer.body.order_id;
      if (tries > 200) throw new Error(`no answer for ${key}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const asked = Array.from({ length: 300 }, (_, i) => askUntilAnswered(`key-${i}`));
  await Promise.race(asked);
  await process.kill();
  process = await startProcess(world, 'api', { PORT: String(port) });
  const ids = await Promise.all(asked);
  expect(new Set(ids).size).toBe(300);
  await eventually('all are confirmed', 30_000, async () => {
    const numbers = (await createInventory(world).read(sale.id)).numbers;
    return numbers?.reserved === 0 && numbers.sold === 300;
  });
  const { rows } = await world.pool.query('SELECT id FROM orders WHERE sale_id = $1', [sale.id]);
  expect(new Set(rows.map((row) => row.id))).toEqual(new Set(ids));
  await process.kill();
}, 90_000);

test('a key that Redis lost leads to the first order again, once the ledger has rejected the second', async () => {
  const sale = await makeSale(world);
  const first = await order(sale.id, 'k');
  await eventually(
    'it is confirmed',
    5_000,
    async () => (await createInventory(world).read(sale.id)).numbers?.sold === 1,
  );
  await world.redis.del(world.keys.sale(sale.id).orderKeys);
  const second = await order(sale.id, 'k');
  expect(second.body.order_id).not.toBe(first.body.order_id);
  await eventually(
    'the key leads to the first order',
    5_000,
    async () => (await order(sale.id, 'k')).body.order_id === first.body.order_id,
  );
  expect((await createInventory(world).read(sale.id)).numbers).toMatchObject({ sold: 1, reserved: 0, available: 9 });
});
