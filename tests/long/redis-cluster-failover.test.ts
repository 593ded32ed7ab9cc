/** A sale on a Redis Cluster with replicas: its master dies, or its slot moves. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.ts';
import { sellThrough } from '../support/sell-through.ts';
import { killHolder, moveSale } from './failures.ts';

let folder = '';
let cluster: RedisCluster;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-cluster-'));
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  cluster = await startRedisCluster({ folder, distFolder, masters: 3, replicas: 3 });
}, 60_000);
afterEach(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('[I2] [I11] the master of a sale of 5,000 units is killed: its replica takes over, nothing is sold twice, lost orders are recovered', async () => {
  const end = await sellThrough({
    template: inject('template'),
    redisUrl: cluster.url,
    units: 5_000,
    after: 2_000,
    happens: (underway) => killHolder(cluster, underway),
  });
  expect(end.confirmed).toBeLessThanOrEqual(5_000);
  expect(end).toMatchObject({ forgotten: 0, faults: [] });
  expect(end.epoch).toBeGreaterThan(1);
  expect(end.lost).toBeLessThanOrEqual(end.atRisk);
  expect(end.closedMs).toBeLessThan(30_000);
});

test('[I2] the slot of a sale of 5,000 units moves to another master: nothing is lost', async () => {
  let moved = 0;
  const end = await sellThrough({
    template: inject('template'),
    redisUrl: cluster.url,
    units: 5_000,
    after: 2_000,
    happens: async (underway) => {
      moved = await moveSale(cluster, underway);
    },
  });
  // At least its inventory, reservations and buyers.
  expect(moved).toBeGreaterThanOrEqual(3);
  expect(end).toMatchObject({ confirmed: 5_000, lost: 0, forgotten: 0, faults: [] });
});
