/**
 * The cost of an order in figures that do not depend on time: commands, round trips, statements,
 * bytes, log lines. A change that makes orders more expensive fails here on any machine.
 *
 * It is stable: requests are injected, so that a burst is one turn of the event loop; the next
 * burst starts when the ledger has the last one and the worker is idle; timers (inventory checks,
 * heartbeats) are not counted. Neither are instructions: virtual machines have no counter for
 * `perf stat`.
 */
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test, vi } from 'vitest';
import { bytesOf, flowOf } from '../cost/redis-bytes.ts';
import { type Carried, type RedisWatch, roundTrips, watchRedis } from '../cost/watch-redis.ts';
import { startOwnRedis, useFolder } from '../support/fixtures.ts';
import { type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

/**
 * Upper bounds: about 15 % above the measured figure, or the figure itself if it is a constant.
 * If a change makes something cheaper, lower its bound to the printed figure plus 15 %.
 */
const BOUNDS = {
  'crowd: commands from clients, an order': [0.32, 'one set of calls for a burst of 50: two batches'],
  'crowd: commands inside scripts, an order': [2.3, 'its share of the commands of a batch'],
  'crowd: script calls, a batch': [
    14,
    'permits and reserve twice, job; commit; BullMQ takes the job, looks for more, ends it',
  ],
  'crowd: round trips of the API, a turn': [8, 'permits and reserve twice, job; leased permits returned'],
  'crowd: SQL statements, a batch': [5, 'BEGIN, lock, insert, sold, COMMIT'],
  'crowd: bytes into Redis, an order': [360, 'reserve, job, commit'],
  'crowd: bytes out of Redis, an order': [170, 'the job to the worker, and replies'],
  'crowd: bytes of the append-only file, an order': [368, 'what the scripts wrote'],
  'crowd: bytes of the ledger, an order': [345, 'its row and index entries, in whole pages'],
  'crowd: lines in the log, an order': [2, 'accepted, by the API; confirmed, by the worker'],
  'alone: commands from clients, an order': [12.7, 'script calls, and BullMQ waiting for work'],
  'alone: commands inside scripts, an order': [91, "three quarters are BullMQ's"],
  'alone: script calls, an order': [10.4, 'as for a batch of 50'],
  'alone: round trips of the API, an order': [4, 'permits, reserve, job; leased permits returned'],
  'alone: SQL statements, an order': [5, 'as for a batch of 50'],
  'reserved: bytes in the sale, an order': [166, 'its reservation'],
  'reserved: bytes in the queue, an order': [159, 'its row of a job for 50 orders'],
  'reserved: bytes for its buyer': [205, 'its bucket, for seconds; its units, permanently'],
  'refused: commands from clients, a refusal': [0.02, 'answered from memory: at least half, on any machine'],
  'refused: commands inside scripts, a refusal': [0.6, 'the same'],
  'refused: round trips of the API, a turn': [1, 'the same'],
  'refused: bytes of the append-only file, a refusal': [66, 'the same'],
  'refused: bytes of memory, a refusal': [60, 'the same'],
  'refused: bytes of memory that stay': [0, 'a refusal leaves nothing behind'],
  'refused: keys that stay': [0, 'the same'],
  'refused: SQL statements': [0, 'the ledger is not asked'],
  'refused: lines in the log': [0, 'refusals are counted, not logged'],
} as const satisfies Record<string, readonly [most: number, because: string]>;

type Figure = keyof typeof BOUNDS;

const BURST = 50;
const SETTINGS = {
  GLOBAL_RATE_LIMIT: 1_000_000,
  RATE_LIMIT_TOKENS: 100,
  REQUEST_TIMEOUT_MS: 60_000,
  WORKER_STATEMENT_MS: 60_000,
  // Never due: the calls of these loops depend on how long the test takes.
  REAPER_INTERVAL_MS: 600_000,
  ORPHAN_AGE_MS: 3_600_000,
  JOB_LOCK_MS: 600_000,
};
/** Scripts that timers of a worker call. */
const CLOCK_SCRIPTS = new Set(['check-inventory', 'claim-orphans']);

const found = new Map<Figure, number>();
const { path: folder } = useFolder();
let server: PrivateServer;
let world: World;
let api: RunningApi;
let worker: { stop(): Promise<void> } | undefined;
let sale: Sale;
let watch: RedisWatch | undefined;
let buyers = 0;

beforeAll(async () => {
  // The size of the append-only file is exact and never shrinks.
  const config = ['appendfsync no', 'auto-aof-rewrite-percentage 0', 'enable-debug-command local'];
  server = await startOwnRedis(folder, config);
  const redis = new Redis(server.url);
  // Otherwise a slow run would have deletions of expired buckets in the file.
  await redis.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
  redis.disconnect();
});
afterAll(async () => {
  await server.stop();
  const lines = [...found].map(([figure, value]) => {
    const [most, because] = BOUNDS[figure];
    return `  ${figure.padEnd(52)}${shown(value).padStart(8)}  of ${String(most).padStart(5)}  ${because}`;
  });
  process.stdout.write(`\nThe cost of an order, and the most that it may be\n${lines.join('\n')}\n\n`);
});
beforeEach(async () => {
  world = await openWorld(inject('template'), { redisUrl: server.url });
  api = await startApi(world, SETTINGS);
  worker = await startWorkerHere(world, SETTINGS);
  sale = await makeSale(world, { units: 100_000, perBuyerLimit: 2 });
  // Loads scripts, prepares statements, opens connections.
  for (let i = 0; i < 3; i++) await burst(BURST);
});
afterEach(async () => {
  vi.restoreAllMocks();
  watch?.close();
  watch = undefined;
  await Promise.all([api.close(), worker?.stop()]);
  await world.close();
});

const shown = (value: number): string => String(Math.round(value * 100) / 100);

function hold(figures: Partial<Record<Figure, number>>): void {
  for (const [figure, value] of Object.entries(figures) as [Figure, number][]) {
    found.set(figure, value);
    expect.soft(value, figure).toBeLessThanOrEqual(BOUNDS[figure][0]);
  }
}

const linesOf = (message: string): number => world.lines.filter(({ msg }) => msg === message).length;

const linesWithOrder = (from: number): number => world.lines.slice(from).filter((line) => 'order_id' in line).length;

/** Orders of one turn, each from another buyer. @returns the statuses */
async function order(size: number, saleId = sale.id): Promise<number[]> {
  const url = `/api/flash-sales/${saleId}/order`;
  const replies = Array.from({ length: size }, () =>
    // An id of 10 characters, as in docs/reference.md.
    api.app.inject({ method: 'POST', url, headers: { 'x-user-id': `buyer-${1_000 + buyers++}` } }),
  );
  return (await Promise.all(replies)).map((reply) => reply.statusCode);
}

/** Orders of one turn; waits until the ledger has them and the worker is idle. */
async function burst(size: number, saleId = sale.id): Promise<void> {
  const start = await watch?.now();
  const before = linesOf('order confirmed');
  expect(new Set(await order(size, saleId))).toEqual(new Set([200]));
  await eventually('all are confirmed', 30_000, () => linesOf('order confirmed') >= before + size);
  if (start === undefined) return;
  await eventually('their job has ended', 30_000, async () => {
    const carried = await (watch as RedisWatch).since(start);
    const settled = carried.findLastIndex(({ script, inside }) => script === 'commit' && !inside);
    return carried.slice(settled).some(({ sender, command }) => sender === 'worker-queue' && command === 'evalsha');
  });
}

/** Commands caused by orders, not by timers. */
async function carriedDuring(
  work: () => Promise<void>,
): Promise<{ all: Carried[]; clients: Carried[]; api: Carried[] }> {
  watch ??= await watchRedis(server.url);
  const start = await watch.now();
  await work();
  const all = (await watch.since(start)).filter(
    ({ script, sender, inside }) =>
      !CLOCK_SCRIPTS.has(script ?? '') && !(sender === 'worker-inventory' && script === null && !inside),
  );
  const clients = all.filter(({ inside }) => !inside);
  return { all, clients, api: clients.filter(({ sender }) => sender.startsWith('api-')) };
}

/** All statements of the API; of the worker those in transactions that write orders. */
async function statementsDuring(work: () => Promise<void>): Promise<{ statements: number; transactions: number }> {
  const sinceBegin = new Map<pg.Client, string[]>();
  let statements = 0;
  let transactions = 0;
  const query = pg.Client.prototype.query;
  vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...args: unknown[]) {
    const [first] = args as [string | { text: string }];
    const text = typeof first === 'string' ? first : first.text;
    const { connectionParameters } = this as unknown as { connectionParameters: { application_name: string } };
    const earlier = text.startsWith('BEGIN') ? [] : (sinceBegin.get(this) ?? []);
    sinceBegin.set(this, [...earlier, text]);
    if (connectionParameters.application_name === 'flash-sale-api') statements += 1;
    else if (text === 'COMMIT' && earlier.some((one) => /INTO orders\b/.test(one))) {
      statements += earlier.length + 1;
      transactions += 1;
    }
    return Reflect.apply(query, this, args);
  } as never);
  await work();
  vi.restoreAllMocks();
  return { statements, transactions };
}

/** Bytes of the orders' rows and indexes, in whole pages. */
async function ledgerBytes(): Promise<number> {
  const { rows } = await world.pool.query(
    `SELECT pg_relation_size('orders') + (SELECT sum(pg_relation_size(indexrelid))
       FROM pg_index WHERE indrelid = 'orders'::regclass) AS bytes`,
  );
  return Number(rows[0].bytes);
}

const inBursts = (orders: number) => async (): Promise<void> => {
  for (let sent = 0; sent < orders; sent += BURST) await burst(BURST);
};
const isScript = ({ script, inside }: Carried): boolean => script !== null && !inside;

test('1,000 orders in bursts of 50, as from a crowd', async () => {
  const orders = 1_000;
  const batches = orders / BURST;
  const before = await flowOf(world.redis);
  const lines = world.lines.length;
  // On a busy machine a burst may become two jobs.
  const { statements, transactions } = await statementsDuring(inBursts(orders));
  const after = await flowOf(world.redis);
  const logged = linesWithOrder(lines);
  const ledgerBefore = await ledgerBytes();
  const carried = await carriedDuring(inBursts(orders));
  const ledgerAfter = await ledgerBytes();
  hold({
    'crowd: commands from clients, an order': carried.clients.length / orders,
    'crowd: commands inside scripts, an order': (carried.all.length - carried.clients.length) / orders,
    'crowd: script calls, a batch': carried.clients.filter(isScript).length / batches,
    'crowd: round trips of the API, a turn': roundTrips(carried.api) / batches,
    'crowd: SQL statements, a batch': statements / transactions,
    'crowd: bytes into Redis, an order': (after.received - before.received) / orders,
    'crowd: bytes out of Redis, an order': (after.sent - before.sent) / orders,
    'crowd: bytes of the append-only file, an order': (after.appended - before.appended) / orders,
    'crowd: bytes of the ledger, an order': (ledgerAfter - ledgerBefore) / orders,
    'crowd: lines in the log, an order': logged / orders,
  });
}, 120_000);

test('20 orders, one by one', async () => {
  const orders = 20;
  let statements = 0;
  const carried = await carriedDuring(async () => {
    ({ statements } = await statementsDuring(async () => {
      for (let i = 0; i < orders; i++) await burst(1);
    }));
  });
  hold({
    'alone: commands from clients, an order': carried.clients.length / orders,
    'alone: commands inside scripts, an order': (carried.all.length - carried.clients.length) / orders,
    'alone: script calls, an order': carried.clients.filter(isScript).length / orders,
    'alone: round trips of the API, an order': roundTrips(carried.api) / orders,
    'alone: SQL statements, an order': statements / orders,
  });
}, 120_000);

test('memory of 1,000 orders in Redis while no worker takes them', async () => {
  await worker?.stop();
  worker = undefined;
  const orders = 1_000;
  const waiting = `{${world.prefix}}:confirm-orders:wait`;
  const before = await bytesOf(world);
  for (let jobs = 1; jobs <= orders / BURST; jobs++) {
    expect(new Set(await order(BURST))).toEqual(new Set([200]));
    // Otherwise several turns would share a job, on a slow machine more of them.
    await eventually('its job waits', 10_000, async () => (await world.redis.llen(waiting)) === jobs);
  }
  const after = await bytesOf(world);
  hold({
    'reserved: bytes in the sale, an order': (after.sale - before.sale) / orders,
    'reserved: bytes in the queue, an order': (after.queue - before.queue) / orders,
    'reserved: bytes for its buyer': (after.buckets + after.buyers - before.buckets - before.buyers) / orders,
  });
}, 60_000);

test('2,000 refusals of different buyers after all is sold', async () => {
  const refusals = 2_000;
  const soldOut = await makeSale(world, { units: 1, perBuyerLimit: 2 });
  watch = await watchRedis(server.url);
  await burst(1, soldOut.id);
  expect(await order(2, soldOut.id)).toEqual([400, 400]);
  const lines = world.lines.length;
  const [before, flowBefore] = [await bytesOf(world), await flowOf(world.redis)];
  let statements = 0;
  const carried = await carriedDuring(async () => {
    ({ statements } = await statementsDuring(async () => {
      for (let sent = 0; sent < refusals; sent += BURST) {
        expect(new Set(await order(BURST, soldOut.id))).toEqual(new Set([400]));
      }
    }));
  });
  const [after, flowAfter] = [await bytesOf(world), await flowOf(world.redis)];
  const growth = (kinds: (keyof typeof after)[]): number =>
    kinds.reduce((sum, kind) => sum + after[kind] - before[kind], 0);
  hold({
    'refused: commands from clients, a refusal': carried.clients.length / refusals,
    'refused: commands inside scripts, a refusal': (carried.all.length - carried.clients.length) / refusals,
    'refused: round trips of the API, a turn': roundTrips(carried.api) / (refusals / BURST),
    'refused: bytes of the append-only file, a refusal': (flowAfter.appended - flowBefore.appended) / refusals,
    'refused: bytes of memory, a refusal': growth(['sale', 'queue', 'buyers', 'buckets']) / refusals,
    'refused: bytes of memory that stay': growth(['sale', 'queue', 'buyers']),
    'refused: keys that stay': growth(['keysThatStay']),
    'refused: SQL statements': statements,
    'refused: lines in the log': linesWithOrder(lines),
  });
}, 60_000);
