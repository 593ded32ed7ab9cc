/**
 * Warms an API process up: a second server on loopback gets orders, replays, refusals of each
 * common kind, and reads.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect as openSocket } from 'node:net';
import { syncSale } from '@flash-sale/core/inventory/sync-sale.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { type Scratch, scratchSales } from '@flash-sale/core/warm-up/warm-up.ts';
import { type ApiSettings, buildApp } from './app.ts';
import { type Connections, connect } from './connect.ts';

/** Requests that are under way at a time: enough for full batches. */
const CLIENTS = 64;

/**
 * Headers of different clients, around the buyer's. V8 compiles for the sets that it has seen; for
 * many sets the code fits any.
 */
const CLIENT_HEADERS = [
  ['Host: localhost\r\n'],
  ['', 'Host: localhost\r\n'],
  ['Host: localhost\r\nUser-Agent: warm-up\r\n', 'Accept: */*\r\n'],
  ['Accept: */*\r\nHost: localhost\r\n'],
  ['Host: localhost\r\nConnection: keep-alive\r\n', 'Accept-Encoding: gzip\r\nUser-Agent: warm-up\r\n'],
  ['User-Agent: warm-up\r\n', 'Host: localhost\r\nOrigin: http://localhost\r\n'],
  ['Host: localhost\r\nX-Request-ID: warm-up\r\n', 'Cookie: a=b\r\n'],
];

/** Milliseconds without an answer after which a client gives up. */
const ANSWER_MS = 500;

/** Each has a bucket of tokens. */
const BUYERS = 1_000;

type Settings = ServiceSettings & ApiSettings;

export async function rehearseOrders(scratch: Scratch<Settings>): Promise<void> {
  const { pool, log, saleIds, endsAt } = scratch;
  const settings = rehearsalSettings(scratch.settings);
  const connections = await connect(settings, log, createMetrics(), pool);
  const app = await buildApp(settings, connections, log);
  try {
    await openSales(connections, scratch);
    await app.listen({ host: '127.0.0.1', port: 0 });
    const requests = requestsOf(saleIds, await buyersOf(settings));
    const { port } = app.server.address() as AddressInfo;
    await Promise.all(Array.from({ length: CLIENTS }, () => sendUntil(endsAt, port, requests)));
  } finally {
    await app.close();
    await connections.close();
  }
}

/** No order is refused because many come from one process, and tokens can be made here. */
function rehearsalSettings({ JWT_JWKS_URL: _, ...given }: Settings): Settings {
  return {
    ...given,
    ...(given.GLOBAL_RATE_LIMIT > 0 && { GLOBAL_RATE_LIMIT: 10_000_000 }),
    ...(given.AUTH === 'jwt' && { JWT_SECRET: randomBytes(32).toString('hex') }),
    IP_RATE_LIMIT: 0,
    OVERLOAD_LOOP_DELAY_MS: 0,
  };
}

async function openSales({ inventory, sales }: Connections, { saleIds }: Scratch): Promise<void> {
  for (const sale of scratchSales(saleIds)) {
    const created = await sales.create(sale, { actor: 'warm-up', requestId: 'warm-up' });
    if (created) await syncSale({ inventory, sales }, created);
  }
}

/** @returns the header that identifies each buyer */
async function buyersOf({ AUTH, JWT_SECRET, JWT_ISSUER, JWT_AUDIENCE }: ApiSettings): Promise<string[]> {
  const names = Array.from({ length: BUYERS }, (_, i) => `buyer${i}`);
  if (AUTH !== 'jwt') return names.map((name) => `X-User-ID: ${name}`);
  const { SignJWT } = await import('jose');
  const secret = new TextEncoder().encode(JWT_SECRET);
  const tokenOf = (name: string) =>
    new SignJWT({ sub: name, iss: JWT_ISSUER ?? '', aud: JWT_AUDIENCE ?? '' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .sign(secret);
  return Promise.all(names.map(async (name) => `Authorization: Bearer ${await tokenOf(name)}`));
}

/** Mostly orders, as in the first second of a sale. */
function* requestsOf(saleIds: Scratch['saleIds'], buyers: readonly string[]): Generator<string> {
  let sent = 0;
  const send = (line: string, buyer: string, more = '') => {
    const [before = '', after = ''] = CLIENT_HEADERS[++sent % CLIENT_HEADERS.length] as readonly string[];
    return `${line} HTTP/1.1\r\n${before}${buyer}\r\n${after}${more || '\r\n'}`;
  };
  const withBody = (body: string) => `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const order = (saleId: string, buyer: string, headers = '', body = '{"quantity":1}') =>
    send(`POST /api/flash-sales/${saleId}/order`, buyer, headers + withBody(body));
  for (let i = 0; ; i++) {
    const buyer = buyers[i % buyers.length] as string;
    const round = Math.floor(i / 15);
    const again = (body?: string) =>
      order(saleIds.open, buyers[round % buyers.length] as string, `Idempotency-Key: ${round}\r\n`, body);
    const others = [
      again(),
      again(),
      again('{"quantity":2}'),
      order(saleIds['sold-out'], buyer),
      order(saleIds.capped, buyer),
      order(saleIds.open, buyers[0] as string),
      order(saleIds.scheduled, buyer),
      order('unknown', buyer),
      order(saleIds.open, buyer, '', '{"quantity":'),
      order(saleIds.open, 'X-Nobody: 1'),
      send('GET /api/flash-sales', buyer),
      send(`GET /api/flash-sales/${saleIds.open}`, buyer),
      send(`GET /api/orders/${saleIds.open}-01ARZ3NDEKTSV4RRFFQ69G5FAV`, buyer),
      send('GET /health/ready', buyer),
    ];
    yield order(saleIds.open, buyer);
    yield order(saleIds.open, buyer);
    yield others[i % others.length] as string;
  }
}

/** One client: its next request follows its last answer. */
async function sendUntil(endsAt: number, port: number, requests: Generator<string>): Promise<void> {
  const socket = openSocket(port, '127.0.0.1');
  const send = () => (performance.now() < endsAt ? socket.write(requests.next().value) : socket.destroy());
  socket.on('connect', send);
  // A long answer has several chunks.
  socket.on('data', (chunk) => chunk.toString('latin1', 0, 5) === 'HTTP/' && send());
  socket.setTimeout(ANSWER_MS, () => socket.destroy());
  await once(socket, 'close');
}
