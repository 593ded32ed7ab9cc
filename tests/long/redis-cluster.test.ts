/** The whole system on a Redis Cluster of three masters, with a sale on each of them. */
import { join } from 'node:path';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LOGIN, type TestApi, useApi, useFolder, useWorker, useWorld } from '../support/fixtures.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const ORDERS = 30;

const folder = useFolder();
/** Its plain Redis is not used. */
const world = useWorld();
let cluster: RedisCluster;
beforeAll(async () => {
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder.path, 'redis-dist');
  cluster = await startRedisCluster({ folder: folder.path, distFolder, masters: 3 });
});
afterAll(() => cluster.stop());
const settings = () => ({
  REDIS_URL: cluster.url,
  GLOBAL_RATE_LIMIT: 1_000,
  RATE_LIMIT_TOKENS: 5,
  TOKEN_REFILL_RATE: 1,
});
const api = useApi(world, settings);
const other = useApi(world, settings);
const stopWorker = useWorker(world, settings);
/** One of each node. */
const saleIds: string[] = [];
const connectAs = (name: string) => connectForRequests({ url: cluster.url, name, log: world.log, timeoutMs: 2_000 });
beforeAll(async () => {
  for (let node = 0; node < 3; node++) saleIds.push(await idOn(node));
  const { redis, connect, close } = connectAs('test');
  await connect();
  for (const id of saleIds) await makeSale({ ...world, redis }, { id, units: ORDERS, perBuyerLimit: 1 });
  await close();
});

/** @returns an id whose keys lie on that node */
async function idOn(node: number): Promise<string> {
  for (let i = 1; ; i++) {
    const id = `sale-${i}`;
    if ((await cluster.nodeOf(world.keys.sale(id).inventory)) === node) return id;
  }
}

const order = (saleId: string, buyer: string, key = '', through: TestApi = api) =>
  through.order(saleId, { buyer, key });
const isSettled = (saleId: string, units: number): Promise<void> =>
  eventually(
    `${saleId} is settled`,
    8_000,
    async () => (await api.connections.inventory.read(saleId)).numbers?.sold === units,
  );

test('sales of every node are sold, confirmed and settled, with all limits on', async () => {
  const asked = saleIds.flatMap((saleId) =>
    Array.from({ length: ORDERS }, (_, i) => order(saleId, `buyer${i}`, `key${i}`, i % 2 === 0 ? api : other)),
  );
  const replies = await Promise.all(asked);
  expect(replies.map(({ word }) => word)).toEqual(replies.map(() => '200 accepted'));
  const numbers = { allotment: ORDERS, available: 0, reserved: 0, sold: ORDERS };
  for (const saleId of saleIds) {
    await isSettled(saleId, ORDERS);
    expect((await api.connections.inventory.read(saleId)).numbers).toEqual(numbers);
  }
  const { rows } = await world.pool.query("SELECT count(*)::int AS orders FROM orders WHERE status = 'confirmed'");
  expect(rows[0].orders).toBe(3 * ORDERS);
  // Each sale lies on its node, and on no other.
  for (const [node, saleId] of saleIds.entries()) {
    const has = await Promise.all(
      cluster.clients.map((client) => client.exists(world.keys.sale(saleId).inventory).catch(() => 0)),
    );
    expect(has.map((found) => found === 1)).toEqual([0, 1, 2].map((i) => i === node));
  }
});

test('a repeated request gets its order again, also through the other process', async () => {
  for (const saleId of saleIds) {
    const first = await order(saleId, 'buyer0', 'key0');
    const again = await order(saleId, 'buyer0', 'key0', other);
    expect(again.body).toMatchObject({ status: 'confirmed', replayed: true, order_id: first.body.order_id });
    expect((await other.readOrder(first.body.order_id, 'buyer0')).word).toBe('200 confirmed');
  }
});

test('an invalidation published at any node reaches every process', async () => {
  const heard = [new Set<string | null>(), new Set<string | null>()];
  for (const [i, { connections }] of [api, other].entries())
    await connections.subscribeToInvalidations((saleId) => heard[i]?.add(saleId));
  for (const [i, client] of cluster.clients.entries())
    await client.publish(world.keys.invalidationChannel(`told-${i}`), `told-${i}`);
  await eventually('both heard what each node was told', 2_000, () =>
    heard.every((invalidation) => [0, 1, 2].every((i) => invalidation.has(`told-${i}`))),
  );
});

test('an operator adds a unit, and the other process sells it at once', async () => {
  for (const saleId of saleIds) {
    const late = `late-${saleId}`;
    expect((await order(saleId, late, '', other)).word).toBe('400 SOLD_OUT');
    expect((await api.admin('POST', `/sales/${saleId}/stock`, { delta: 1, reason: 'one more' })).status).toBe(200);
    const added = performance.now();
    let attempts = 0;
    await eventually('the unit is sold', 2_000, async () => {
      attempts += 1;
      return (await order(saleId, `${late}-${attempts}`, '', other)).word === '200 accepted';
    });
    // Without the invalidation it would take longer (REFUSAL_CACHE_MS).
    expect(performance.now() - added).toBeLessThan(300);
  }
});

test('health asks every master, and the audit finds nothing', async () => {
  expect((await api.get('/health')).text).toContain('redis');
  await api.connections.probes.redis();
  const jobs = await api.get('/admin/queues/api/queues?activeQueue=confirm-orders&status=completed', LOGIN);
  expect(jobs.text).toContain('confirm-orders');
  const { redis, pool, close } = await connectStores(
    { redisUrl: cluster.url, databaseUrl: world.databaseUrl, prefix: world.prefix },
    'flash-sale-audit',
  );
  try {
    for (const saleId of saleIds) await isSettled(saleId, ORDERS + 1);
    const report = await auditSales({ redis, pool, keys: world.keys, pauseMs: 50 });
    expect(report.sales.map(({ violations, ledger }) => ({ violations, sold: ledger?.sold }))).toEqual(
      saleIds.map(() => ({ violations: [], sold: ORDERS + 1 })),
    );
    expect(report.queue.violations).toEqual([]);
  } finally {
    await close();
  }
});

test('a start is refused if one master would evict keys, if it is no cluster, and if the password is wrong', async () => {
  expect(await checkRedis(cluster.url)).toMatchObject({ appendOnly: true, masters: 3 });
  const [, second] = cluster.clients;
  await second?.config('SET', 'maxmemory-policy', 'allkeys-lru');
  await expect(checkRedis(cluster.url)).rejects.toThrow(`at 127.0.0.1:${cluster.nodes[1]?.port} would evict keys`);
  await second?.config('SET', 'maxmemory-policy', 'noeviction');
  await expect(checkRedis(world.redisUrl.replace('redis://', 'redis+cluster://'))).rejects.toThrow('is not a cluster');
  await expect(checkRedis(cluster.url.replace(/:[^:@/]+@/, ':wrong@'))).rejects.toThrow('refuses the login');
});

test('a connection for requests reaches every node at the first try', async () => {
  const made = Array.from({ length: 40 }, (_, i) => connectAs(`many-${i}`));
  const answers = await Promise.all(
    made.map(async ({ redis, connect }) => {
      await connect();
      return Promise.all(saleIds.map((saleId) => redis.exists(world.keys.sale(saleId).inventory)));
    }),
  );
  expect(answers).toEqual(made.map(() => [1, 1, 1]));
  await Promise.all(made.map(({ close }) => close()));
});

test('without a node, its commands fail at once, the others answer, and one log line says so', async () => {
  await Promise.all([api.close(), other.close(), stopWorker()]);
  const name = 'one-node-away';
  const { redis, connect, close } = connectAs(name);
  await connect();
  const [, , third] = cluster.nodes;
  third?.kill();
  await eventually('the node is gone', 2_000, () => third?.pid === undefined);
  await eventually('a line is logged', 2_000, () => world.lines.some(({ connection }) => connection === name));
  const startedAt = performance.now();
  await expect(redis.get(world.keys.sale(String(saleIds[2])).inventory)).rejects.toThrow('Connection is closed');
  expect(performance.now() - startedAt).toBeLessThan(200);
  expect(await redis.exists(world.keys.sale(String(saleIds[0])).inventory)).toBe(1);
  await close();
  expect(world.lines.filter(({ connection }) => connection === name)).toMatchObject([
    { node: `127.0.0.1:${third?.port}`, msg: 'redis does not answer' },
  ]);
});
