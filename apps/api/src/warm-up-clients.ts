/** The clients of a warm-up, in a process of their own. It ends when they have their answers. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { ScratchSpace } from '@flash-sale/core/warm-up/scratch-space.ts';

export interface WarmUpRequests {
  /** On loopback. */
  readonly port: number;
  readonly runMs: number;
  readonly sales: ScratchSpace['sales'];
  /** Header of a buyer, without its id at the end. */
  readonly buyer: string;
  /** Header of the operator. */
  readonly operator: string;
}

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

/** Mostly orders, as in the first second of a sale. */
function* requestsOf({ sales, buyer: buyerHeader, operator }: WarmUpRequests): Generator<string> {
  const identify = (buyer: number): string => `${buyerHeader}${buyer}`;
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

/** One client: its next request follows its last answer. */
function sendUntil(endsAt: number, port: number, requests: Generator<string>): Promise<unknown> {
  const socket = connect(port, '127.0.0.1');
  const next = () => (performance.now() < endsAt ? socket.write(requests.next().value) : socket.end());
  socket.on('connect', next);
  // A long answer has several pieces.
  socket.on('data', (piece) => piece.toString('latin1', 0, 5) === 'HTTP/' && next());
  // The server closes a connection that it cannot serve.
  socket.on('error', () => {});
  return new Promise((resolve) => socket.on('close', resolve));
}

// The API may be killed meanwhile.
process.on('disconnect', () => process.exit());
const [wanted] = (await once(process, 'message')) as [WarmUpRequests];
const requests = requestsOf(wanted);
const endsAt = performance.now() + wanted.runMs;
await Promise.all(Array.from({ length: CLIENTS }, () => sendUntil(endsAt, wanted.port, requests)));
process.disconnect();
