/** Overload: an API process sheds what it cannot answer soon; operators and health checks get through. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { type Client, openClient, withCode } from '../support/buyers.ts';
import { type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

describe('the bound of requests in flight, while Redis is silent', () => {
  const BOUND = 20;
  const BUDGET_MS = 1_000;
  let folder: string;
  let server: PrivateServer;
  let world: World;
  let api: RunningApi;
  let crowd: Client;
  let sale: Sale;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'flash-sale-redis-'));
    const distFolder = process.env.TEST_REDIS_DIST;
    server = await startPrivateRedis({ folder, ...(distFolder ? { distFolder } : {}) });
    world = await openWorld(inject('template'), server.url);
  });
  afterAll(async () => {
    await world.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    api = await startApi(world, { OVERLOAD_IN_FLIGHT: BOUND, REQUEST_TIMEOUT_MS: BUDGET_MS });
    crowd = openClient(api.url);
    sale = await makeSale(world, { units: 1_000 });
  });
  afterEach(async () => {
    process.kill(server.pid as number, 'SIGCONT');
    crowd.close();
    await api.close();
  });
  const freeze = () => process.kill(server.pid as number, 'SIGSTOP');
  const thaw = async () => {
    process.kill(server.pid as number, 'SIGCONT');
    await eventually('orders are taken again', 5_000, async () => (await crowd.order(sale.id)).status === 200);
  };

  test('exactly the surplus is shed, at once and with Retry-After; health and operator get through; then orders are taken again', async () => {
    await crowd.warmUp(60);
    freeze();
    const waiting = Array.from({ length: 50 }, () => crowd.order(sale.id));
    // The first reply is that of a shed order: all places are taken.
    await Promise.race(waiting);
    const reader = await crowd.ask('GET', '/api/flash-sales');
    expect([reader.status, reader.code]).toEqual([503, 'OVERLOADED']);
    expect((await crowd.ask('GET', '/health/live')).status).toBe(200);
    expect((await crowd.asOperator('/api/admin/sales')).status).toBe(200);
    expect((await crowd.asOperator('/admin/queues')).status).toBe(200);
    expect((await crowd.ask('GET', '/docs/json')).status).toBe(200);

    const answers = await Promise.all(waiting);
    const shed = withCode(answers, 'OVERLOADED');
    expect(shed.length).toBe(50 - BOUND);
    expect(new Set(shed.map((one) => one.status))).toEqual(new Set([503]));
    expect(shed.every(({ retryAfter }) => retryAfter >= 1 && retryAfter <= 3)).toBe(true);
    expect(new Set(shed.map((one) => one.retryAfter)).size).toBeGreaterThan(1);
    // The others waited for Redis until their budget was used up.
    const others = answers.filter((one) => one.code !== 'OVERLOADED');
    expect(Math.min(...others.map((one) => one.milliseconds))).toBeGreaterThan(BUDGET_MS * 0.9);
    expect(Math.max(...shed.map((one) => one.milliseconds))).toBeLessThan(
      Math.min(...others.map((one) => one.milliseconds)),
    );

    await thaw();
    expect(withCode(await crowd.orders(sale.id, BOUND), 'accepted').length).toBe(BOUND);
    await api.app.close();
    const told = world.lines.filter((line) => JSON.stringify(line).includes('OVERLOADED'));
    expect(told.map((line) => line.msg)).toEqual(['refused since the last summary']);
    expect((told[0] as { refusals: Record<string, number> }).refusals.OVERLOADED).toBe(50 - BOUND + 1);
  });

  test('control: without the bound nothing is shed, and every order waits until its time is over', async () => {
    const open = await startApi(world, { OVERLOAD_IN_FLIGHT: 0, REQUEST_TIMEOUT_MS: BUDGET_MS });
    const all = openClient(open.url);
    await all.warmUp(50);
    freeze();
    const answers = await all.orders(sale.id, 50);
    expect(withCode(answers, 'OVERLOADED')).toEqual([]);
    expect(Math.min(...answers.map((one) => one.milliseconds))).toBeGreaterThan(BUDGET_MS * 0.9);
    all.close();
    process.kill(server.pid as number, 'SIGCONT');
    await open.close();
  });

  test('every place comes back: from refused, broken and unreadable requests, and from clients that left', async () => {
    const path = `/api/flash-sales/${sale.id}/order`;
    for (let round = 0; round < 3; round++) {
      const refused = Array.from({ length: BOUND }, (_, i) => [
        crowd.ask('POST', path, '', { 'x-user-id': '' }),
        crowd.ask('GET', `/nothing/${i}`),
        crowd.ask('POST', path, '{"quantity":'),
        crowd.ask('POST', path, '{"quantity":0}'),
        crowd.ask('POST', path, `{"quantity":1${' '.repeat(20_000)}}`),
        crowd.ask('GET', '/%zz'),
      ]);
      await Promise.all(refused.flat());
      const left = Array.from({ length: BOUND }, () => half(api.url, path));
      await Promise.all(left.map((socket) => once(socket, 'connect')));
      for (const socket of left) socket.destroy();
    }
    await crowd.warmUp(BOUND + 5);
    freeze();
    // Clients that leave while their orders are at work: the work goes on, so their places stay taken until it is done.
    const gone = Array.from({ length: BOUND }, () => half(api.url, path, '{"quantity":1}'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (const socket of gone) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await crowd.order(sale.id)).code).toBe('OVERLOADED');
    await eventually(
      'their places are free',
      BUDGET_MS + 3_000,
      async () => (await crowd.order(sale.id)).code !== 'OVERLOADED',
    );
    await thaw();
    freeze();
    expect(withCode(await crowd.orders(sale.id, BOUND + 5), 'OVERLOADED').length).toBe(5);
  });

  test('a body that is sent slowly takes no place', async () => {
    const slow = Array.from({ length: BOUND * 2 }, () => half(api.url, `/api/flash-sales/${sale.id}/order`, '{"quan'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(withCode(await crowd.orders(sale.id, BOUND), 'accepted').length).toBe(BOUND);
    // Counted as they are complete: they find all places free, and more of them than there are places do not.
    await crowd.warmUp(BOUND * 2);
    freeze();
    let shed = 0;
    for (const socket of slow) {
      socket.on('data', (text) => (shed += String(text).includes('OVERLOADED') ? 1 : 0));
      socket.write('tity":1}');
    }
    await eventually('the surplus is shed', 1_000, () => shed === BOUND);
    for (const socket of slow) socket.destroy();
  });
});

/** A connection with an order whose body (14 bytes) is not sent to its end, unless `part` is all of it. */
function half(url: string, path: string, part = ''): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nX-User-ID: ann\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n${part}`,
  );
  return socket;
}

describe('a late event loop', () => {
  let world: World;
  beforeAll(async () => {
    world = await openWorld(inject('template'));
  });
  afterAll(() => world.close());

  /** Whatever else this process does, `work` runs while each turn of its event loop takes 120 ms and more. */
  async function whileLate<Result>(work: () => Promise<Result>): Promise<Result> {
    const burner = setInterval(() => {
      const until = performance.now() + 120;
      while (performance.now() < until);
    }, 1);
    try {
      return await work();
    } finally {
      clearInterval(burner);
    }
  }

  test('only a quarter of the bound is let in, health gets through, and it ends by itself', async () => {
    const api = await startApi(world, { OVERLOAD_IN_FLIGHT: 40, OVERLOAD_LOOP_DELAY_MS: 50 });
    const crowd = openClient(api.url);
    const sale = await makeSale(world, { units: 1_000 });
    await crowd.warmUp(31);
    // A busy machine may be late by itself for a moment.
    await eventually(
      'nobody is shed yet',
      5_000,
      async () => withCode(await crowd.orders(sale.id, 30), 'accepted').length === 30,
    );
    await whileLate(async () => {
      await eventually('it is noticed', 3_000, () => api.app.memoryUsage().eventLoopDelay > 50);
      const [answers, health, operator] = await Promise.all([
        crowd.orders(sale.id, 30),
        crowd.ask('GET', '/health/live'),
        crowd.asOperator('/api/admin/sales'),
      ]);
      expect([withCode(answers, 'accepted').length, withCode(answers, 'OVERLOADED').length]).toEqual([10, 20]);
      expect([health.status, operator.status]).toEqual([200, 200]);
    });
    await eventually('nobody is shed', 1_500, async () => {
      const answers = await crowd.orders(sale.id, 30);
      return withCode(answers, 'accepted').length === 30;
    });
    crowd.close();
    await api.close();
  });

  test('control: with 0 it is not checked', async () => {
    const api = await startApi(world, { OVERLOAD_IN_FLIGHT: 40, OVERLOAD_LOOP_DELAY_MS: 0 });
    const crowd = openClient(api.url);
    const sale = await makeSale(world, { units: 1_000 });
    await crowd.warmUp(31);
    const answers = await whileLate(async () => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      return crowd.orders(sale.id, 30);
    });
    expect(withCode(answers, 'accepted').length).toBe(30);
    crowd.close();
    await api.close();
  });
});
