/** Connections that send slowly, too much or nothing are bounded; other buyers are served. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { CONNECTION_CHECK_MS } from '@flash-sale/api/app.ts';
import { PIPELINED_MAX } from '@flash-sale/api/plugins/connection-bounds.ts';
import { CONNECTION_LINGER_MS } from '@flash-sale/api/plugins/connection-state.ts';
import { BODY_LIMIT_BYTES } from '@flash-sale/api/plugins/json-body.ts';
import { expect, vi } from 'vitest';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { eventually, type World } from '../support/world.ts';

/** A busy machine may notice this much later that a time is over. */
const MARGIN_MS = 1_500;
/** Only a bound of waiting: these tests are not about speed. */
const SOON_MS = 15_000;
vi.setConfig({ testTimeout: 60_000 });

interface Connection {
  readonly socket: Socket;
  /** What the API sent, up to 100 kB. */
  said: string;
  /** Milliseconds after which the API cut the connection for good, or null. */
  cutAfterMs: number | null;
}

/** A client that never closes its half. It sends `drip` every 100 ms, even after the API closed. */
function openSlow(port: number, text: string, drip: string): Connection {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const connection: Connection = { socket, said: '', cutAfterMs: null };
  const startedAt = performance.now();
  let ended = false;
  const dripping = setInterval(() => {
    if (drip !== '' || ended) socket.write(drip || 'x');
  }, 100);
  socket.on('data', (data) => {
    if (connection.said.length < 100_000) connection.said += data.toString();
  });
  socket.on('end', () => (ended = true));
  socket.on('error', () => {});
  socket.on('close', () => {
    clearInterval(dripping);
    connection.cutAfterMs = performance.now() - startedAt;
  });
  socket.write(text);
  return connection;
}

const headers = 'Host: x\r\nX-User-ID: slow\r\nContent-Type: application/json\r\n';
const statusOf = (connection: Connection): number => Number(connection.said.split(' ')[1] ?? 0);

/** Starts an API process with these settings. */
async function startBounded(world: World, settings: Record<string, string>) {
  const sale = await makeSale(world, { units: 100_000 });
  const api = await startProcess(world, 'api', settings);
  const port = Number(new URL(api.url).port);
  const opened: Connection[] = [];
  world.onClose(() => {
    for (const { socket } of opened) socket.destroy();
  });
  function open(text: string, drip = ''): Connection {
    const connection = openSlow(port, text, drip);
    opened.push(connection);
    return connection;
  }
  return {
    api,
    sale,
    orderLine: `POST /api/flash-sales/${sale.id}/order HTTP/1.1\r\n`,
    open,
    many: (count: number, text: string, drip?: string) => Array.from({ length: count }, () => open(text, drip)),
    async expectServed(): Promise<void> {
      const signal = AbortSignal.timeout(SOON_MS);
      const [health, placed] = await Promise.all([
        fetch(`${api.url}/health/live`, { signal }),
        fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
          method: 'POST',
          headers: { 'x-user-id': 'ann', 'content-type': 'application/json' },
          body: '{"quantity":1}',
          signal,
        }),
      ]);
      expect([health.status, placed.status]).toEqual([200, 200]);
    },
    /** Megabytes of the process's memory; 0 if the system does not tell. */
    memory(): number {
      const status = `/proc/${api.child.pid}/status`;
      return existsSync(status) ? Number(/VmRSS:\s+(\d+)/.exec(readFileSync(status, 'utf8'))?.[1]) / 1024 : 0;
    },
  };
}

test.concurrent('silent connections, slow headers and slow bodies get 408 and are closed in time', async ({
  world,
}) => {
  const RECEIVE_MS = 2_000;
  const { many, orderLine, expectServed } = await startBounded(world, { RECEIVE_TIMEOUT_MS: String(RECEIVE_MS) });
  const slow = [
    ...many(30, ''),
    ...many(30, `${orderLine}X-Slow: `, 'x'),
    ...many(30, `${orderLine}${headers}Content-Length: 5000\r\n\r\n{`, ' '),
    ...many(30, `${orderLine}${headers}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`, '1\r\n \r\n'),
  ];
  await expectServed();
  const mostMs = RECEIVE_MS + CONNECTION_CHECK_MS + CONNECTION_LINGER_MS + MARGIN_MS;
  await eventually('all are cut', mostMs + MARGIN_MS, () => slow.every((one) => one.cutAfterMs !== null));
  expect(new Set(slow.map(statusOf))).toEqual(new Set([408]));
  expect(new Set(slow.map((one) => /"code":"(\w+)"/.exec(one.said)?.[1]))).toEqual(new Set(['REQUEST_TOO_SLOW']));
  expect(slow.filter((one) => !/^retry-after: 1\r$/m.test(one.said))).toEqual([]);
  expect(Math.max(...slow.map((one) => one.cutAfterMs as number))).toBeLessThan(mostMs);
  await expectServed();
});

test.concurrent('a connection whose client reads no response is closed', async ({ world }) => {
  const settings = { REQUEST_TIMEOUT_MS: '200', KEEP_ALIVE_TIMEOUT_MS: '1000' };
  const { open, expectServed } = await startBounded(world, settings);
  // Longer than the socket buffers of both sides.
  const deaf = open('GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(12));
  deaf.socket.pause();
  // Node checks twice for progress.
  await new Promise((resolve) => setTimeout(resolve, 2_000 + MARGIN_MS));
  // Without reading, only a write shows that the API has closed the connection.
  await eventually('it is cut', 2_000, () => {
    deaf.socket.write('\r\n');
    return deaf.cutAfterMs !== null;
  });
  await expectServed();
});

test.concurrent('connections above MAX_CONNECTIONS are dropped and counted; the others work; free places are reused', async ({
  world,
}) => {
  const { api, many, orderLine, expectServed } = await startBounded(world, { MAX_CONNECTIONS: '50' });
  const held = many(50, `GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n`);
  await eventually('50 are connected', SOON_MS, () => held.every((one) => statusOf(one) === 200));
  const surplus = many(20, `GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n`);
  await eventually('the surplus is dropped', SOON_MS, () => surplus.every((one) => one.cutAfterMs !== null));
  expect(surplus.map(statusOf)).toEqual(surplus.map(() => 0));
  for (const one of held) {
    one.said = '';
    one.socket.write(`${orderLine}${headers}Content-Length: 0\r\n\r\n`);
  }
  await eventually('the others order', SOON_MS, () => held.every((one) => one.said.includes('accepted')));
  for (const one of held.slice(0, 10)) one.socket.destroy();
  await eventually('there is room again', SOON_MS, async () => (await expectServed().catch(() => 'no')) !== 'no');
  for (const one of held) one.socket.destroy();
  await api.stop();
  expect(api.output()).toMatch(/"refusals":\{[^}]*"CONNECTION_DROPPED":(2\d|[3-9]\d)/);
});

test('longer headers than allowed are 431, longer bodies 413: declared, in chunks, and endless', async ({ world }) => {
  const { open, many, orderLine, expectServed, memory } = await startBounded(world, {});
  const before = memory();
  const long = 'x'.repeat(20_000);
  const endless = 'x'.repeat(1_000_000);
  const cases: [number, string, Connection][] = [
    [431, 'HEADERS_TOO_LARGE', open(`GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: ${long}\r\n\r\n`)],
    [414, 'URI_TOO_LONG', open(`GET /${long} HTTP/1.1\r\nHost: x\r\n\r\n`)],
    [431, 'HEADERS_TOO_LARGE', open(`GET /health/live HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(200_000)}`)],
    [413, 'BODY_TOO_LARGE', open(`${orderLine}${headers}Content-Length: 10000000000\r\n\r\n`)],
    [413, 'BODY_TOO_LARGE', open(`${orderLine}${headers}Content-Length: ${BODY_LIMIT_BYTES + 1}\r\n\r\n${long}`)],
    [413, 'BODY_TOO_LARGE', open(`${orderLine}${headers}Transfer-Encoding: chunked\r\n\r\nF4240\r\n${endless}\r\n`)],
    [
      413,
      'BODY_TOO_LARGE',
      open(`${orderLine}${headers}Transfer-Encoding: chunked\r\n\r\n${'1\r\n \r\n'.repeat(20_000)}`),
    ],
  ];
  for (const [status, code, connection] of cases) {
    await eventually(`${status} is sent and the connection cut`, SOON_MS, () => connection.cutAfterMs !== null);
    expect([statusOf(connection), connection.said.includes(code)]).toEqual([status, true]);
  }
  // The longest valid body, in one piece and byte by byte.
  const body = `{"quantity":1${' '.repeat(BODY_LIMIT_BYTES - 14)}}`;
  const bytes = [...body].map((byte) => `1\r\n${byte}\r\n`).join('');
  const valid = [
    open(`${orderLine}${headers}Content-Length: ${BODY_LIMIT_BYTES}\r\n\r\n${body}`),
    open(`${orderLine}${headers}Transfer-Encoding: chunked\r\n\r\n${bytes}0\r\n\r\n`),
  ];
  await eventually('both are taken', SOON_MS, () => valid.every((one) => one.said.includes('accepted')));
  // 40 of them without an end: 200 MB, if each byte were kept as a chunk.
  const pieces = many(40, `${orderLine}${headers}Transfer-Encoding: chunked\r\n\r\n${bytes}`);
  await Promise.all(pieces.map(({ socket }) => socket.writableLength === 0 || once(socket, 'drain')));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await expectServed();
  expect(memory() - before).toBeLessThan(120);
});

test('pipelined requests are answered in order; floods and clients that read no responses are closed', async ({
  world,
}) => {
  const settings = { REQUEST_TIMEOUT_MS: '600', KEEP_ALIVE_TIMEOUT_MS: '2000' };
  const { api, sale, open, many, expectServed, memory } = await startBounded(world, settings);
  await expectServed();
  const before = memory();
  const read = `GET /api/flash-sales/${sale.id} HTTP/1.1\r\nHost: x\r\n\r\n`;
  const lost = 'GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n';
  const polite = open(lost.repeat(10) + read.repeat(PIPELINED_MAX - 10));
  const answers = () => [...polite.said.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]);
  await eventually('all are answered', SOON_MS, () => answers().length === PIPELINED_MAX);
  expect(answers()).toEqual(answers().sort().reverse());

  const floods = [
    ...many(5, read.repeat(5_000)),
    ...many(5, lost.repeat(5_000)),
    ...many(5, 'GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(5_000)),
  ];
  await eventually('floods are cut', SOON_MS, () => floods.every((one) => one.cutAfterMs !== null));
  // As many as are allowed at a time, repeatedly; no response is read.
  const deaf = many(50, read.repeat(PIPELINED_MAX - 2), read.repeat(PIPELINED_MAX - 2));
  for (const { socket } of deaf) socket.pause();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await expectServed();
  expect(memory() - before).toBeLessThan(250);
  for (const one of deaf) one.socket.destroy();
  await api.stop();
  expect(api.output()).toMatch(/"CONNECTION_FLOODED":\d\d/);
});
