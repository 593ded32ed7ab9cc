/** The arithmetic of `pnpm capacity`: round constants, so that each figure can be reckoned by hand. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { completeConstants } from '../../scripts/capacity/constants.ts';
import { readDrop } from '../../scripts/capacity/read-drop.ts';
import { type Drop, sizeDrop } from '../../scripts/capacity/size-drop.ts';

const measured = {
  api_us_per_order: 100,
  worker_us_per_order: 50,
  redis_us_per_order: 20,
  postgres_us_per_order: 100,
  api_us_per_refusal: 40,
  redis_bytes_per_live_order: 500,
  redis_bytes_per_held_buyer: 80,
  aof_bytes_per_order: 600,
  ledger_bytes_per_order: 400,
};
const constants = completeConstants({ ...measured, redis_us_per_refusal: 5, api_us_per_refusal_through_redis: 140 });
const size = (changed: Partial<Drop> = {}) => sizeDrop({ ...readDrop({}), ...changed }, constants);

test('a million buyers, 10,000 units', () => {
  const { crowd, api, redis, ledger, ...ends } = size();
  expect(crowd).toMatchObject({
    requests: 3_000_000,
    requestsPerSecond: 300_000,
    accepted: 10_000,
    refused: 2_990_000,
  });
  expect(crowd).toMatchObject({ acceptedPerSecond: 10_000, refusedPerSecond: 290_000 });
  // 10,000 × 100 µs + 290,000 × 40 µs = 12.6 s of CPU a second, with half left free 25.2 processes.
  expect(api).toMatchObject({
    cores: 12.6,
    processesByCpu: 26,
    processesByConnections: 67,
    processes: 67,
    machines: 7,
  });
  // Half a core / 20 µs; 10,000 × 20 µs / half a core.
  expect(redis).toMatchObject({ mostPerSecond: 25_000, secondsOfSale: 0.4, nodes: 1, liveBytes: 5e6, heldBytes: 8e5 });
  expect(redis).toMatchObject({ bucketBytes: 10_000 * 90, bytes: 5e6 + 8e5 + 9e5, aofBytes: 6e6 });
  expect(ledger).toMatchObject({ workers: 1, workerSeconds: 1, postgresCores: 1, postgresSeconds: 2, bytes: 4e6 });
  expect(ends).toMatchObject({ lastAcceptedAfter: 0.4, lastInLedgerAfter: 2, bottleneck: 'PostgreSQL' });
});

test('refusals grow the API only; orders grow Redis and the ledger', () => {
  const [once, twice] = [size(), size({ requestsPerBuyer: 6 })];
  expect(twice.api.cores - once.api.cores).toBeCloseTo(300_000 * 40e-6);
  expect([twice.redis, twice.ledger]).toEqual([once.redis, once.ledger]);
  const more = size({ units: 20_000 });
  expect(more.redis).toMatchObject({
    bytes: once.redis.bytes * 2,
    aofBytes: once.redis.aofBytes * 2,
    secondsOfSale: 0.8,
  });
  expect(more.ledger).toMatchObject({ bytes: once.ledger.bytes * 2, postgresSeconds: 4 });
});

test('refusals that ask Redis cost it time and buckets, and the API more', () => {
  const through = size({ throughRedis: 0.1 });
  expect(through.redis.secondsOfSale).toBeCloseTo((10_000 * 20 + 299_000 * 5) / 1e6 / 0.5);
  expect(through.redis.bucketBytes).toBeCloseTo((10_000 + 299_000) * 90);
  expect(through.api.cores).toBeCloseTo((10_000 * 100 + 290_000 * (0.9 * 40 + 0.1 * 140)) / 1e6);
});

test('one sale cannot have more than its node; many sales have as many nodes as they need', () => {
  const large = size({ units: 1_000_000 });
  expect(large.crowd.acceptedPerSecond).toBe(25_000);
  expect(large).toMatchObject({ lastAcceptedAfter: 40, lastInLedgerAfter: 200, bottleneck: 'PostgreSQL' });
  expect(large.ledger).toMatchObject({ workers: 10, postgresCores: 1 });
  // A small sale takes 20 % of a node, of which half may be used: two on each.
  expect(size({ sales: 5 }).redis.nodes).toBe(3);
  expect(size({ sales: 5, units: 1_000_000 }).redis.nodes).toBe(5);
  expect(size({ sales: 5, units: 1_000_000 }).ledger.postgresCores).toBe(5);
});

test('a limit of the system, and a slow crowd, are bottlenecks too', () => {
  const limited = size({ rateLimit: 2_000 });
  expect(limited.crowd.acceptedPerSecond).toBe(2_000);
  expect(limited).toMatchObject({ lastAcceptedAfter: 5, lastInLedgerAfter: 5, bottleneck: 'limit' });
  expect(size({ buyers: 1_000, units: 10_000 })).toMatchObject({
    crowd: { accepted: 3_000, refused: 0, refusedPerSecond: 0 },
    lastAcceptedAfter: 10,
    bottleneck: 'crowd',
  });
});

test('what is missing or no number is named', () => {
  const { api_us_per_order: _, ...rest } = measured;
  expect(() => completeConstants({ ...rest, aof_bytes_per_order: 'many' })).toThrow(
    /--api-us-per-order is missing: µs[\s\S]*aof_bytes_per_order must be a number from 0, and is "many"/,
  );
  expect(() => readDrop({ buyers: 'x', headroom: '1' })).toThrow(
    /--buyers[^\n]*"x"\n--headroom[^\n]*below 1, and is "1"/,
  );
});

test('the command reads the file of constants; an option stands above it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-capacity-'));
  const file = join(folder, 'speed.json');
  writeFileSync(file, JSON.stringify({ commit: 'abc', constants: measured }));
  const script = fileURLToPath(new URL('../../scripts/capacity.ts', import.meta.url));
  const run = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) =>
      execFile(process.execPath, [script, '--constants', file, ...args], (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
      ),
    );
  try {
    const { code, stdout } = await run('--json', '--redis-us-per-order', '40', '--units', '100');
    expect([code, JSON.parse(stdout)]).toMatchObject([
      0,
      {
        drop: { units: 100 },
        constants: { redis_us_per_order: 40, api_us_per_order: 100 },
        sizing: { bottleneck: 'PostgreSQL' },
      },
    ]);
    const told = await run();
    expect(told.stdout).toMatch(/requests\/s at the peak +300,000 /);
    expect(told.stdout).toMatch(/request_bytes +800 +taken, not measured/);
    expect(await run('--seconds', '0')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--seconds must be'),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
