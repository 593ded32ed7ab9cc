/** The whole system on a Redis Cluster of three masters: sales on each of them, limits on the one, the queue on whichever it falls to. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { ADMIN_TOKEN, type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const ORDERS = 30;

let folder = '';
let cluster: RedisCluster;
/** PostgreSQL and prefix of its own; its plain Redis is not used. */
let world: World;
let api: RunningApi;
let other: RunningApi;
let worker: { stop(): Promise<void> };
/** One of each node. */
const saleIds: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-cluster-'));
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  [cluster, world] = await Promise.all([
    startRedisCluster({ folder, distFolder, masters: 3 }),
    openWorld(inject('template')),
  ]);
  const settings = { REDIS_URL: cluster.url, GLOBAL_RATE_LIMIT: 1_000, RATE_LIMIT_TOKENS: 5, TOKEN_REFILL_RATE: 1 };
  [api, other, worker] = await Promise.all([
    startApi(world, settings),
    startApi(world, settings),
    startWorkerHere(world, settings),
  ]);
  for (let node = 0; node < 3; node++) saleIds.push(await idOn(node));
  for (const id of saleIds) expect(await makeSale(id)).toBe(201);
});
afterAll(async () => {
  await stopSystem();
  await Promise.allSettled([cluster?.stop(), world?.close()]);
  rmSync(folder, { recursive: true, force: true });
});

let stopping: Promise<unknown> | undefined;
function stopSystem(): Promise<unknown> {
  stopping ??= Promise.allSettled([api?.close(), other?.close(), worker?.stop()]);
  return stopping;
}

/** @returns an id whose keys lie on that node */
async function idOn(node: number): Promise<string> {
  for (let i = 1; ; i++) {
    const id = `sale-${i}`;
    if ((await cluster.nodeOf(world.keys.sale(id).inventory)) === node) return id;
  }
}

async function operate(path: string, body: object): Promise<number> {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' };
  const response = await fetch(`${api.url}/api/admin/sales${path}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  });
  await response.text();
  return response.status;
}

const makeSale = (id: string): Promise<number> =>
  operate('', {
    product_id: id,
    name: 'A thing',
    original_price: '199.99',
    flash_sale_price: '99.99',
    units: ORDERS,
    per_buyer_limit: 1,
    starts_at: new Date(Date.now() - 60_000).toISOString(),
    ends_at: new Date(Date.now() + 3_600_000).toISOString(),
  });

async function order(saleId: string, buyer: string, { key = '', through = api } = {}): Promise<AnyJson> {
  const headers = { 'x-user-id': buyer, ...(key === '' ? {} : { 'idempotency-key': key }) };
  const response = await fetch(`${through.url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers });
  return (await response.json()) as AnyJson;
}

test('sales of every node are sold, confirmed and settled, with all limits on', async () => {
  const asked = saleIds.flatMap((saleId) =>
    Array.from({ length: ORDERS }, (_, i) =>
      order(saleId, `buyer${i}`, { key: `key${i}`, through: i % 2 === 0 ? api : other }),
    ),
  );
  const replies = await Promise.all(asked);
  expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 'accepted'));
  const numbers = { allotment: ORDERS, available: 0, reserved: 0, sold: ORDERS };
  for (const saleId of saleIds) {
    await eventually(
      `${saleId} is settled`,
      8_000,
      async () => (await api.connections.inventory.read(saleId)).numbers?.sold === ORDERS,
    );
    expect((await api.connections.inventory.read(saleId)).numbers).toEqual(numbers);
  }
  const { rows } = await world.pool.query("SELECT count(*)::int AS orders FROM orders WHERE status = 'confirmed'");
  expect(rows[0].orders).toBe(3 * ORDERS);
  // Each sale lies on the node that it was meant for, and on no other.
  for (const [node, saleId] of saleIds.entries()) {
    const has = await Promise.all(
      cluster.clients.map((client) => client.exists(world.keys.sale(saleId).inventory).catch(() => 0)),
    );
    expect(has.map((found) => found === 1)).toEqual([0, 1, 2].map((i) => i === node));
  }
});

test('a request that is repeated gets its own order again, through the other process', async () => {
  for (const saleId of saleIds) {
    const first = await order(saleId, 'buyer0', { key: 'key0' });
    const again = await order(saleId, 'buyer0', { key: 'key0', through: other });
    expect(again).toMatchObject({ status: 'accepted', order_id: first.order_id });
    const response = await fetch(`${other.url}/api/orders/${first.order_id}`, { headers: { 'x-user-id': 'buyer0' } });
    expect(await response.json()).toMatchObject({ status: 'confirmed' });
  }
});

test('an invalidation that is published at any node reaches every process', async () => {
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
    expect(await order(saleId, late, { through: other })).toMatchObject({ code: 'SOLD_OUT' });
    expect(await operate(`/${saleId}/stock`, { delta: 1, reason: 'one more' })).toBe(200);
    const added = performance.now();
    let attempts = 0;
    await eventually('the unit is sold', 2_000, async () => {
      attempts += 1;
      return (await order(saleId, `${late}-${attempts}`, { through: other })).status === 'accepted';
    });
    // Without invalidation it would remember for longer (REFUSAL_CACHE_MS).
    expect(performance.now() - added).toBeLessThan(300);
  }
});

test('health asks every master, and the audit finds nothing', async () => {
  const health = (await (await fetch(`${api.url}/health`)).json()) as AnyJson;
  expect(JSON.stringify(health)).toContain('redis');
  await api.connections.probes.redis();
  const headers = { authorization: `Basic ${btoa(`admin:${ADMIN_TOKEN}`)}` };
  const jobs = await fetch(`${api.url}/admin/queues/api/queues?activeQueue=confirm-orders&status=completed`, {
    headers,
  });
  expect(await jobs.text()).toContain('confirm-orders');
  const { redis, pool, close } = await connectStores(
    { redisUrl: cluster.url, databaseUrl: world.databaseUrl },
    'flash-sale-audit',
  );
  try {
    for (const saleId of saleIds)
      await eventually(
        'all is settled',
        5_000,
        async () => (await api.connections.inventory.read(saleId)).numbers?.sold === ORDERS + 1,
      );
    const report = await auditSales({ redis, pool, keys: world.keys, pauseMs: 50 });
    expect(report.sales.map(({ violations, ledger }) => ({ violations, sold: ledger?.sold }))).toEqual(
      saleIds.map(() => ({ violations: [], sold: ORDERS + 1 })),
    );
    expect(report.queue.violations).toEqual([]);
  } finally {
    await close();
  }
});

test('a start is refused where one master would evict keys, where it is no cluster, and where the password is wrong', async () => {
  expect(await checkRedis(cluster.url)).toMatchObject({ appendOnly: true, masters: 3 });
  const [, second] = cluster.clients;
  await second?.config('SET', 'maxmemory-policy', 'allkeys-lru');
  await expect(checkRedis(cluster.url)).rejects.toThrow(`at 127.0.0.1:${cluster.nodes[1]?.port} would evict keys`);
  await second?.config('SET', 'maxmemory-policy', 'noeviction');
  await expect(checkRedis(world.redisUrl.replace('redis://', 'redis+cluster://'))).rejects.toThrow('is not a cluster');
  await expect(checkRedis(cluster.url.replace(/:[^:@/]+@/, ':wrong@'))).rejects.toThrow('refuses the login');
});

test('a connection for requests is made at the first try, with every node in it', async () => {
  const made = Array.from({ length: 40 }, (_, i) =>
    connectForRequests({ url: cluster.url, name: `many-${i}`, log: world.log, timeoutMs: 2_000 }),
  );
  const answers = await Promise.all(
    made.map(async ({ redis, connect }) => {
      await connect();
      return Promise.all(saleIds.map((saleId) => redis.exists(world.keys.sale(saleId).inventory)));
    }),
  );
  expect(answers).toEqual(made.map(() => [1, 1, 1]));
  await Promise.all(made.map(({ close }) => close()));
});

test('without a node its commands fail at once, the others answer, and one line says so', async () => {
  // What a system does while it lacks a node is not asked here.
  await stopSystem();
  const name = 'one-node-away';
  const { redis, connect, close } = connectForRequests({ url: cluster.url, name, log: world.log, timeoutMs: 2_000 });
  await connect();
  const [, , third] = cluster.nodes;
  third?.kill();
  await eventually('the node is gone', 2_000, () => third?.pid === undefined);
  await eventually('it is said', 2_000, () => world.lines.some(({ connection }) => connection === name));
  const startedAt = performance.now();
  await expect(redis.get(world.keys.sale(String(saleIds[2])).inventory)).rejects.toThrow('Connection is closed');
  expect(performance.now() - startedAt).toBeLessThan(200);
  expect(await redis.exists(world.keys.sale(String(saleIds[0])).inventory)).toBe(1);
  await close();
  expect(world.lines.filter(({ connection }) => connection === name)).toMatchObject([
    { node: `127.0.0.1:${third?.port}`, msg: 'redis does not answer' },
  ]);
});
