/** An API process sheds what it cannot answer soon; operators and health checks get through. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { describe, expect, test } from 'vitest';
import { type Client, openClient, type Reply, withCode } from '../support/buyers.ts';
import { type TestApi, useOwnRedis, useWorld, withApi } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, type World } from '../support/world.ts';

/** Runs `work` with an API of these settings, a sale of 1,000 units and a client. */
function withCrowd(
  world: World,
  settings: Partial<Environment>,
  work: (crowd: Client, saleId: string, api: TestApi) => Promise<void>,
): Promise<void> {
  return withApi(world, settings, async (api) => {
    const crowd = openClient(api.url);
    const sale = await makeSale(world, { units: 1_000 });
    await work(crowd, sale.id, api).finally(() => crowd.close());
  });
}

/** An order on a connection of its own whose body has 14 bytes, of which only `part` is sent. */
function half(url: string, path: string, part = ''): Socket {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => {});
  const headers = ['Host: x', 'X-User-ID: ann', 'Content-Type: application/json', 'Content-Length: 14'];
  socket.write(`POST ${path} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${part}`);
  return socket;
}

/** @returns how many requests of half() arrived since */
function countHalves({ app }: TestApi): () => number {
  let count = 0;
  app.server.on('request', ({ headers }) => (count += headers['content-length'] === '14' ? 1 : 0));
  return () => count;
}

const accepted = (replies: readonly Reply[]): number => withCode(replies, 'accepted').length;

describe('the bound of requests in flight, while Redis is silent', () => {
  const BOUND = 20;
  const BUDGET_MS = 1_000;
  const BOUNDED = { OVERLOAD_IN_FLIGHT: BOUND, REQUEST_TIMEOUT_MS: BUDGET_MS };
  const world = useOwnRedis();

  const signal = (name: 'SIGSTOP' | 'SIGCONT') => process.kill(world.server.pid as number, name);
  const freeze = () => signal('SIGSTOP');
  const thaw = async (crowd: Client, saleId: string) => {
    signal('SIGCONT');
    await eventually('orders are taken again', 5_000, async () => (await crowd.order(saleId)).status === 200);
  };
  const whileBounded = (work: Parameters<typeof withCrowd>[2], settings = BOUNDED): Promise<void> =>
    withCrowd(world, settings, (...given) => work(...given).finally(() => signal('SIGCONT')));

  test('exactly the surplus is shed, at once and with Retry-After; health and operators get through', () =>
    whileBounded(async (crowd, saleId, api) => {
      await crowd.warmUp(60);
      freeze();
      const waiting = Array.from({ length: 50 }, () => crowd.order(saleId));
      // The first reply is that of a shed order: all places are taken.
      await Promise.race(waiting);
      const reader = await crowd.ask('GET', '/api/flash-sales');
      expect([reader.status, reader.code]).toEqual([503, 'OVERLOADED']);
      expect((await crowd.ask('GET', '/health/live')).status).toBe(200);
      expect((await crowd.ask('GET', '/docs/json')).code).toBe('OVERLOADED');
      for (const path of ['/api/admin/sales', '/admin/queues']) expect((await crowd.asOperator(path)).status).toBe(200);

      const answers = await Promise.all(waiting);
      const shed = withCode(answers, 'OVERLOADED');
      expect(shed.length).toBe(50 - BOUND);
      expect(new Set(shed.map((one) => one.status))).toEqual(new Set([503]));
      expect(shed.every(({ retryAfter }) => retryAfter >= 1 && retryAfter <= 3)).toBe(true);
      expect(new Set(shed.map((one) => one.retryAfter)).size).toBeGreaterThan(1);
      // The others waited for Redis until their budget was used up.
      const others = answers.filter((one) => one.code !== 'OVERLOADED').map((one) => one.milliseconds);
      expect(Math.min(...others)).toBeGreaterThan(BUDGET_MS * 0.9);
      expect(Math.max(...shed.map((one) => one.milliseconds))).toBeLessThan(Math.min(...others));

      await thaw(crowd, saleId);
      expect(accepted(await crowd.orders(saleId, BOUND))).toBe(BOUND);
      await api.app.close();
      const told = world.lines.filter((line) => JSON.stringify(line).includes('OVERLOADED'));
      expect(told).toMatchObject([{ msg: 'refused since the last summary', refusals: { OVERLOADED: 50 - BOUND + 2 } }]);
    }));

  test('control: without the bound nothing is shed, and every order waits until its time is over', () =>
    whileBounded(
      async (crowd, saleId) => {
        await crowd.warmUp(50);
        freeze();
        const answers = await crowd.orders(saleId, 50);
        expect(withCode(answers, 'OVERLOADED')).toEqual([]);
        expect(Math.min(...answers.map((one) => one.milliseconds))).toBeGreaterThan(BUDGET_MS * 0.9);
      },
      { ...BOUNDED, OVERLOAD_IN_FLIGHT: 0 },
    ));

  test('every place is freed: after refused, broken and unreadable requests, and when clients leave', () =>
    whileBounded(async (crowd, saleId, api) => {
      const path = `/api/flash-sales/${saleId}/order`;
      const arrived = countHalves(api);
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
        await eventually('all have arrived', 5_000, () => arrived() === (round + 1) * BOUND);
        for (const socket of left) socket.destroy();
      }
      await crowd.warmUp(BOUND + 5);
      freeze();
      // Clients leave while their orders wait for Redis: the places stay taken until Redis answers.
      const gone = Array.from({ length: BOUND }, () => half(api.url, path, '{"quantity":1}'));
      await eventually('all have arrived', 900, () => arrived() === 4 * BOUND);
      for (const socket of gone) socket.destroy();
      await Promise.all(gone.map((socket) => socket.closed || once(socket, 'close')));
      expect((await crowd.order(saleId)).code).toBe('OVERLOADED');
      await eventually(
        'their places are free',
        BUDGET_MS + 3_000,
        async () => (await crowd.order(saleId)).code !== 'OVERLOADED',
      );
      await thaw(crowd, saleId);
      freeze();
      expect(withCode(await crowd.orders(saleId, BOUND + 5), 'OVERLOADED').length).toBe(5);
    }));

  test('a body that is sent slowly takes no place', () =>
    whileBounded(async (crowd, saleId, api) => {
      const arrived = countHalves(api);
      const path = `/api/flash-sales/${saleId}/order`;
      const slow = Array.from({ length: BOUND * 2 }, () => half(api.url, path, '{"quan'));
      await eventually('all have arrived', 5_000, () => arrived() === BOUND * 2);
      expect(accepted(await crowd.orders(saleId, BOUND))).toBe(BOUND);
      // A request counts from when its body is complete: these now find all places free.
      await crowd.warmUp(BOUND * 2);
      freeze();
      let shed = 0;
      for (const socket of slow) {
        socket.on('data', (text) => (shed += String(text).includes('OVERLOADED') ? 1 : 0));
        socket.write('tity":1}');
      }
      await eventually('the surplus is shed', 1_000, () => shed === BOUND);
      for (const socket of slow) socket.destroy();
    }));
});

describe('a late event loop', () => {
  const world = useWorld();

  /** Runs `work` while each turn of this process's event loop takes at least 120 ms. */
  async function whileLate(work: () => Promise<void>): Promise<void> {
    const burner = setInterval(() => {
      const until = performance.now() + 120;
      while (performance.now() < until);
    }, 1);
    await work().finally(() => clearInterval(burner));
  }

  test('only a quarter of the bound is let in, health gets through, and it ends by itself', () =>
    withCrowd(world, { OVERLOAD_IN_FLIGHT: 40, OVERLOAD_LOOP_DELAY_MS: 50 }, async (crowd, saleId) => {
      const nobodyIsShed = async () => accepted(await crowd.orders(saleId, 30)) === 30;
      await crowd.warmUp(31);
      // A busy machine may be late by itself for a moment.
      await eventually('nobody is shed yet', 5_000, nobodyIsShed);
      await whileLate(async () => {
        await eventually('it is noticed', 3_000, async () => accepted(await crowd.orders(saleId, 30)) < 30);
        const [answers, health, operator] = await Promise.all([
          crowd.orders(saleId, 30),
          crowd.ask('GET', '/health/live'),
          crowd.asOperator('/api/admin/sales'),
        ]);
        expect([accepted(answers), withCode(answers, 'OVERLOADED').length]).toEqual([10, 20]);
        expect([health.status, operator.status]).toEqual([200, 200]);
      });
      await eventually('nobody is shed', 1_500, nobodyIsShed);
    }));

  test('control: with 0 it is not checked', () =>
    withCrowd(world, { OVERLOAD_IN_FLIGHT: 40, OVERLOAD_LOOP_DELAY_MS: 0 }, async (crowd, saleId) => {
      await crowd.warmUp(31);
      let turns = 0;
      await whileLate(async () => {
        await eventually('the loop is late for some turns', 5_000, () => ++turns > 4);
        expect(accepted(await crowd.orders(saleId, 30))).toBe(30);
      });
    }));
});
