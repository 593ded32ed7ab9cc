/**
 * Warms the API up before it listens. Over loopback its own server gets orders, replays, refusals
 * of each common kind and reads, so that V8 has compiled them when the first buyer comes. They go
 * to a scratch space, and nothing of them remains.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, type Server } from 'node:net';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { lend } from '@flash-sale/core/runtime/lend.ts';
import { muteLines } from '@flash-sale/core/runtime/logging.ts';
import type { Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import { type ScratchSpace, withScratchSpace } from '@flash-sale/core/warm-up/scratch-space.ts';
import type { Logger } from 'pino';
import type { ApiSettings, buildApp } from './app.ts';
import type { Connections } from './connect.ts';

/** Milliseconds for which requests are sent. */
const RUN_MS = 2_000;

/** Requests that are under way at a time: enough for full batches. */
const CLIENTS = 64;

/**
 * Headers of different clients, around the buyer's. V8 compiles for the sets that it has seen; for
 * many sets the code fits any.
 */
const CLIENT_HEADERS = [
  ['Host: localhost\r\n', ''],
  ['', 'Host: localhost\r\n'],
  ['Host: localhost\r\nUser-Agent: warm-up\r\n', 'Accept: */*\r\n'],
  ['Accept: */*\r\nHost: localhost\r\n', ''],
  ['Host: localhost\r\nConnection: keep-alive\r\n', 'Accept-Encoding: gzip\r\nUser-Agent: warm-up\r\n'],
  ['User-Agent: warm-up\r\n', 'Host: localhost\r\nOrigin: http://localhost\r\n'],
  ['Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nX-Request-ID: warm-up\r\n', 'Cookie: a=b\r\n'],
] as const;

/** A failure is a warning: the process serves cold. */
export async function warmUp(
  app: Awaited<ReturnType<typeof buildApp>>,
  settings: ServiceSettings & ApiSettings,
  connections: Connections,
  { log, tracing }: { log: Logger; tracing: Tracing | null },
): Promise<void> {
  if (settings.WARM_UP === 'off') return;
  const { redis, metrics, inventory } = connections;
  const token = randomBytes(16).toString('hex');
  async function rehearse(space: ScratchSpace): Promise<void> {
    const restore = [
      metrics.startRehearsal(),
      muteLines(log, space.name),
      connections.useSpace(space, token),
      tracing ? lend(tracing, { receive: () => null }) : () => {},
    ];
    try {
      for (const sale of Object.values(space.sales)) await inventory.create(sale);
      await app.ready();
      await send(app.server, requestsTo(space, settings, token));
      await app.ordersEnqueued();
    } finally {
      for (const one of restore.reverse()) await one();
    }
  }
  await withScratchSpace({ redis, keyPrefix: settings.KEY_PREFIX }, rehearse).catch((error: Error) =>
    log.warn({ err: error.message }, 'the warm-up failed: the first orders take longer'),
  );
}

/**
 * Mostly orders, as in the first second of a sale.
 *
 * @param token in front of a buyer's id: its bearer token
 */
function* requestsTo({ sales }: ScratchSpace, { AUTH, ADMIN_TOKEN }: ApiSettings, token: string): Generator<string> {
  const operator = `Authorization: Bearer ${ADMIN_TOKEN}`;
  const identify = (buyer: number): string =>
    AUTH === 'jwt' ? `Authorization: Bearer ${token}${buyer}` : `X-User-ID: ${buyer}`;
  const withBody = (body: string) => `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  let count = 0;
  const request = (line: string, sender: string, end = '\r\n') => {
    const [before, after] = CLIENT_HEADERS[++count % CLIENT_HEADERS.length] as (typeof CLIENT_HEADERS)[number];
    return `${line} HTTP/1.1\r\n${before}${sender}\r\n${after}${end}`;
  };
  const order = (id: string, sender: string, headers = '', body = '{"quantity":1}') =>
    request(`POST /api/flash-sales/${id}/order`, sender, headers + withBody(body));
  const open = sales.open.id;
  for (let i = 0; ; i++) {
    const buyer = identify(i);
    const round = Math.floor(i / 18);
    const replay = (body?: string) => order(open, identify(round), `Idempotency-Key: ${round}\r\n`, body);
    const others = [
      () => replay(),
      () => replay(),
      () => replay('{"quantity":2}'),
      () => order(sales['sold-out'].id, buyer),
      () => order(sales['sold-out'].id, buyer),
      () => order(sales.capped.id, identify(round % 2)),
      () => order(open, identify(-1)),
      () => order(sales.scheduled.id, buyer),
      () => order('unknown', buyer),
      () => order(open, buyer, '', '{"quantity":'),
      () => order(open, 'X-Nobody: 1'),
      () => request(`GET /api/flash-sales/${open}`, buyer),
      () => request(`GET /api/orders/${open}-01ARZ3NDEKTSV4RRFFQ69G5FAV`, buyer),
      () => request('GET /health/ready', buyer),
      () => request('GET /none', buyer),
      () => request(`GET /api/admin/sales/${open}`, operator),
      () => request('POST /api/admin/sales', operator, withBody('{}')),
      () => order(open, buyer),
    ];
    yield order(open, buyer);
    yield order(open, buyer);
    yield (others[i % others.length] as () => string)();
  }
}

/** Resolves when the last request is answered. */
async function send(server: Server, requests: Generator<string>): Promise<void> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const endsAt = performance.now() + RUN_MS;
  await Promise.allSettled(Array.from({ length: CLIENTS }, () => sendUntil(endsAt, port, requests)));
  await once(server.close(), 'close');
}

/** One client: its next request follows its last answer. */
async function sendUntil(endsAt: number, port: number, requests: Generator<string>): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const next = () => (performance.now() < endsAt ? socket.write(requests.next().value) : socket.end());
  socket.on('connect', next);
  // A long answer has several pieces.
  socket.on('data', (piece) => piece.toString('latin1', 0, 5) === 'HTTP/' && next());
  await once(socket, 'close');
}
