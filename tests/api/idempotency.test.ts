/** Idempotency-Key: a buyer whose reply was lost asks again and gets the same order. */
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ask, times, useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);
const other = useApi(world);
useWorker(world);

const order = (saleId: string, key: string, body: unknown = '', through = api) => through.order(saleId, { key, body });
const numbersOf = async (saleId: string) => (await api.connections.inventory.read(saleId)).numbers;
const isSold = (saleId: string, count: number, withinMs = 10_000): Promise<void> =>
  eventually('all orders are confirmed', withinMs, async () => {
    const numbers = await numbersOf(saleId);
    return numbers?.reserved === 0 && numbers.sold === count;
  });
const idsOf = async (saleId: string): Promise<string[]> =>
  (await world.pool.query('SELECT id FROM orders WHERE sale_id = $1', [saleId])).rows.map(({ id }) => id);

test('50 parallel requests with one key to two API processes are one order, and each reply names it', async () => {
  const sale = await makeSale(world, { units: 60 });
  const answers = await times(50, (i) => order(sale.id, 'one', '', i % 2 === 0 ? api : other));
  const [id] = new Set(answers.map(({ body }) => body.order_id));
  expect(answers.every(({ status, body }) => status === 200 && body.order_id === id)).toBe(true);
  expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(49);
  await isSold(sale.id, 1);
  const again = await order(sale.id, 'one', { quantity: 1 });
  expect(again.body).toMatchObject({ status: 'confirmed', replayed: true, order_id: id });
  expect(await idsOf(sale.id)).toEqual([id]);
});

test('quoted and bare are the same key; an invalid key, or one with another body, is refused', async () => {
  const sale = await makeSale(world);
  const bare = await order(sale.id, 'a-key');
  expect((await order(sale.id, '"a-key"')).body.order_id).toBe(bare.body.order_id);
  for (const key of ['x'.repeat(129), '"', '"a" b"', 'caf\u00e9'])
    expect((await order(sale.id, key)).word, key).toBe('400 INVALID_IDEMPOTENCY_KEY');
  const reused = await order(sale.id, 'a-key', { quantity: 2 });
  expect(reused.body).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_REUSED', retryable: false });
  expect(await api.available(sale.id)).toBe(9);
});

test.each<[[string, string], [string, string]]>([
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
])('buyer and key %j and %j are two orders', async (...pairs) => {
  const sale = await makeSale(world);
  const answers = await Promise.all(pairs.map(([buyer, key]) => api.order(sale.id, { buyer, key: key || 'other' })));
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  expect(answers[0]?.body.order_id).not.toBe(answers[1]?.body.order_id);
});

test('a retry after a lost reply gets the order, and there is one', async () => {
  const sale = await makeSale(world);
  const { inventory } = api.connections;
  const { reserve } = inventory;
  // The script runs, and its reply is lost.
  inventory.reserve = async (...args) => {
    await reserve(...args);
    throw new Error('Command timed out');
  };
  const lost = await order(sale.id, 'k');
  inventory.reserve = reserve;
  expect(lost.body).toMatchObject({ status: 503, code: 'OUTCOME_UNKNOWN', retryable: true });
  const again = await order(sale.id, 'k');
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([200, 'true']);
  expect((await order(sale.id, 'k')).body.order_id).toBe(again.body.order_id);
  await isSold(sale.id, 1);
});

test('an API is killed under load: buyers retry with their keys, and none has two orders', async () => {
  const sale = await makeSale(world, { units: 500 });
  const port = await freePort();
  const start = () => startProcess(world, 'api', { PORT: String(port) });
  let process = await start();
  const url = `http://127.0.0.1:${port}/api/flash-sales/${sale.id}/order`;
  const askUntilAnswered = async (key: string): Promise<string> => {
    let id = '';
    await eventually(`${key} is answered`, 20_000, async () => {
      const headers = { 'x-user-id': 'ann', 'idempotency-key': key };
      const answer = await ask(url, { method: 'POST', headers }).catch(() => pause(100, null));
      id = answer?.body.order_id ?? '';
      return answer?.status === 200;
    });
    return id;
  };
  const asked = Array.from({ length: 300 }, (_, i) => askUntilAnswered(`key-${i}`));
  await Promise.race(asked);
  await process.kill();
  process = await start();
  const ids = await Promise.all(asked);
  expect(new Set(ids).size).toBe(300);
  await isSold(sale.id, 300, 30_000);
  expect(new Set(await idsOf(sale.id))).toEqual(new Set(ids));
  await process.kill();
}, 90_000);
