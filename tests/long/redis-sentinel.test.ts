/** A sale behind Redis Sentinel: its master dies, or hangs and resumes, while a crowd orders. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { MIN_REPLICAS, startWatchedRedis, type WatchedRedis } from '../support/redis-sentinel.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { type SaleEnd, sellThrough, type Underway } from '../support/sell-through.ts';
import { eventually, openWorld, testServers } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';
import { hangMaster, killMaster } from './failures.ts';

let folder = '';
let watched: WatchedRedis | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-sentinel-'));
});
afterEach(async () => {
  await watched?.stop();
  watched = undefined;
  rmSync(folder, { recursive: true, force: true });
});

async function start(config: readonly string[] = MIN_REPLICAS): Promise<WatchedRedis> {
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  watched = await startWatchedRedis({ folder, distFolder, replicas: 2, sentinels: 3, config });
  return watched;
}

const sell = (
  redisUrl: string,
  happens: (underway: Underway) => Promise<void>,
  recovers: 'in a pause' | 'sold out' = 'sold out',
): Promise<SaleEnd> =>
  sellThrough({ template: inject('template'), redisUrl, units: 5_000, after: 2_000, happens, recovers });

function expectKept(end: SaleEnd): void {
  expect(end.confirmed).toBeLessThanOrEqual(5_000);
  expect(end).toMatchObject({ forgotten: 0, faults: [] });
  expect(end.epoch).toBeGreaterThan(1);
  expect(end.lost).toBeLessThanOrEqual(end.atRisk);
  expect(end.closedMs).toBeLessThan(30_000);
}

test('[I2] [I11] the master of a sale of 5,000 units is killed: a replica takes over, nothing is sold twice, lost orders are recovered', async () => {
  const redis = await start();
  expectKept(await sell(redis.url, (underway) => killMaster(redis, underway, false)));
});

test('[I2] [I11] its replicas lag by a second: only orders at risk are lost, and all of them are recovered in a pause', async () => {
  const redis = await start();
  const end = await sell(redis.url, (underway) => killMaster(redis, underway, true), 'in a pause');
  expectKept(end);
  expect(end.lost).toBeGreaterThan(0);
  expect(end).toMatchObject({ recovered: end.lost, confirmed: 5_000 });
});

test('[I2] [trap 34] a master that hangs, is replaced and resumes sells next to nothing without its replicas, and nothing twice', async () => {
  const redis = await start();
  let late = Number.NaN;
  const end = await sell(redis.url, async (underway) => {
    late = await hangMaster(redis, underway);
  });
  expectKept(end);
  // Whatever waited in its socket as it woke may run before it looks for its replicas.
  expect(late).toBeLessThan(10);
});

test('[I2] [trap 34] control: without min-replicas-to-write the resumed master keeps selling, and the ledger prevents overselling', async () => {
  const redis = await start([]);
  let late = 0;
  const end = await sell(redis.url, async (underway) => {
    late = await hangMaster(redis, underway);
  });
  expectKept(end);
  expect(late).toBeGreaterThan(10);
});

test('without servers and sentinels, an API process and a worker log it, and stop in time', async () => {
  const redis = await start();
  const world = await openWorld(inject('template'));
  const servers = { ...world, redisUrl: redis.url };
  const settings = { PORT: String(await freePort()), SHUTDOWN_TIMEOUT_MS: '5000' };
  const processes: ServiceProcess[] = [];
  try {
    processes.push(await startProcess(servers, 'api', settings));
    processes.push(await startProcess(servers, 'worker', settings));
    await redis.end();
    for (const { output } of processes)
      await eventually('a line is logged', 10_000, () => output().includes('redis does not answer'));
    for (const { stop, output } of processes) {
      // 1 if a loop of the worker waits for Redis until SHUTDOWN_TIMEOUT_MS; never killed (null).
      expect([0, 1], output()).toContain(await stop());
      expect(output()).not.toContain('Unhandled error');
    }
  } finally {
    await Promise.all(processes.map((process) => process.kill()));
    await world.close();
  }
});

test('the doctor reads the master that the sentinels name', async () => {
  const { url, clients } = await start();
  expect(await doctorSays(url)).toMatch(/ok +REDIS_REPLICAS +2 connected, min-replicas-to-write 1$/m);
  await clients[0]?.config('SET', 'min-replicas-to-write', '0');
  const said = await doctorSays(url);
  expect(said).toMatch(/WARNING +REDIS_REPLICAS .*a master that is cut off accepts orders that are lost/);
  expect(said).not.toContain('of-every-');
});

/** @returns its output, whatever it finds */
function doctorSays(redisUrl: string): Promise<string> {
  const { databaseUrl } = testServers();
  const env = { PATH: process.env.PATH, NODE_ENV: 'production', REDIS_URL: redisUrl, DATABASE_URL: databaseUrl };
  return new Promise((resolve) =>
    execFile(process.execPath, [join(root, 'scripts', 'doctor.ts')], { env }, (_, said) => resolve(said)),
  );
}

test('a wrong address is refused with a message', async () => {
  const { url } = await start();
  expect(await checkRedis(url)).toMatchObject({ appendOnly: true, masters: 1 });
  await expect(checkRedis(url.replace('/the-inventory/', '/another/'))).rejects.toThrow(
    'do not monitor a master "another"',
  );
  await expect(checkRedis(url.replace('of-every-sentinel', 'wrong'))).rejects.toThrow('?sentinel_username=');
  await expect(checkRedis(url.replace('of-every-server', 'wrong'))).rejects.toThrow(
    'Check the user and the password in REDIS_URL',
  );
  const first = String(watched?.servers[0]?.url)
    .replace('redis://', 'redis+sentinel://')
    .replace('/0', '/the-inventory');
  await expect(checkRedis(first)).rejects.toThrow(/are not sentinels|sentinel_username/);
  const gone = 'redis+sentinel://127.0.0.1:1/the-inventory';
  await expect(checkRedis(gone)).rejects.toThrow(/No Redis answers at redis\+sentinel:.*sentinel 127\.0\.0\.1:1/);
});
