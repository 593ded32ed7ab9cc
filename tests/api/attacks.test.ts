/** What an attacker who reaches the port may try: tricks with headers, paths and bodies, injection, floods. SECURITY.md has the table. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { strangeKeys } from '../attack/known-keys.ts';
import { openRaw, request } from '../attack/raw-connection.ts';
import { freePort } from '../support/free-port.ts';
import { type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
});
afterAll(async () => {
  await api.close();
  await world.close();
});

/** Sends bytes as they stand, and reads until the other side is done or 700 ms were quiet. */
async function raw(text: string): Promise<string> {
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
  await once(socket, 'connect');
  let answer = '';
  socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  socket.setTimeout(700, () => socket.destroy());
  socket.write(text, 'latin1');
  await closed;
  return answer;
}
const statuses = (answer: string) => [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
const HOST = 'Host: a\r\n';

test.each([
  [
    'two lengths',
    `POST /api/flash-sales/x/order HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
  ],
  [
    'a length and chunks',
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\n${HOST}\r\n`,
  ],
  ['a chunk length that is none', `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
  ['a space before the colon', `GET / HTTP/1.1\r\n${HOST}X-User-ID : ann\r\n\r\n`],
  ['a folded header', `GET / HTTP/1.1\r\n${HOST}X-User-ID: ann\r\n bob\r\n\r\n`],
  ['a zero byte in a header', `GET / HTTP/1.1\r\n${HOST}X-User-ID: a\0b\r\n\r\n`],
  ['no host', 'GET / HTTP/1.1\r\n\r\n'],
])('requests are not smuggled with %s: one refusal, and nothing is read on', async (_what, text) => {
  const [status, ...more] = statuses(await raw(text));
  expect(more).toEqual([]);
  expect([400, 404]).toContain(status);
});

test.each([
  ['a request that was answered before its body was whole', 'POST /nothing', ['Transfer-Encoding: chunked'], 'zz\r\n'],
  ['a request that is still worked on', `GET /api/orders/x`, ['X-User-ID: ann'], 'zz\r\n\r\n'],
])('what cannot be read behind %s brings no second answer, and no wrong one', async (_what, line, headers, rest) => {
  const answer = await raw(request(line, headers, rest));
  expect(answer).not.toContain('400 Bad Request');
  expect(statuses(answer).length).toBeLessThanOrEqual(1);
});

test.each(['/%zz', `/api/flash-sales/${'x'.repeat(200)}`])(
  'a path that cannot be read is counted, and no cache keeps its refusal: %s',
  async (path) => {
    const port = await freePort();
    const own = await startApi(world);
    try {
      await own.parts.metrics.listen({ host: '127.0.0.1', port });
      const response = await fetch(own.url + path);
      expect([response.headers.get('cache-control'), response.headers.get('x-content-type-options')]).toEqual([
        'private, no-store',
        'nosniff',
      ]);
      const { code } = (await response.json()) as { code: string };
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      expect(metrics).toContain(`flash_sale_refusals_total{code="${code}"} 1`);
    } finally {
      await own.close();
    }
  },
);

test('a buyer who is named twice is nobody: the first name does not win, nor the last', async () => {
  const sale = await makeSale(world);
  const answer = await raw(
    `POST /api/flash-sales/${sale.id}/order HTTP/1.1\r\n${HOST}X-User-ID: ann\r\nX-User-ID: bob\r\nConnection: close\r\n\r\n`,
  );
  expect(statuses(answer)).toEqual([400]);
  expect((await api.parts.inventory.read(sale.id)).numbers?.available).toBe(10);
});

test.each([
  '/api/flash-sales/../admin/sales',
  '/api/flash-sales/..%2fadmin%2fsales',
  '/api//admin/sales',
  '/API/ADMIN/sales',
  '/api/admin/sales/',
  '/api/admin/sales;x=1',
  '/./api/admin/sales',
  '/docs/../api/admin/sales',
  '/docs/static/..%2f..%2f..%2f..%2fpackage.json',
  '/docs/static/%2e%2e/%2e%2e/package.json',
  '/admin/queues/static/..%2f..%2f..%2fpackage.json',
  '/health/../api/admin/sales',
  'http://evil.example/api/admin/sales',
])('no path leads past the operator’s token, or out of a folder: %s', async (path) => {
  const answer = await raw(`GET ${path} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  expect([400, 401, 403, 404]).toContain(statuses(answer)[0]);
  expect(answer).not.toContain('"flash-sale"');
});

test.each(['X-HTTP-Method-Override: POST', 'X-Original-URL: /api/admin/sales', 'X-Rewrite-URL: /api/admin/sales'])(
  'a header changes neither method nor path: %s',
  async (header) => {
    const answer = await raw(`GET /health/live HTTP/1.1\r\n${HOST}${header}\r\nConnection: close\r\n\r\n`);
    expect(answer).toContain('{"status":"ok"}');
  },
);

test.each(['*', '{x}', 'a}:{b', "x'; DROP TABLE orders; --", '%0d%0aSET%20a%20b', '__proto__', 'constructor', '../x'])(
  'a sale called %s is not there, and makes no key',
  async (id) => {
    const response = await fetch(`${api.url}/api/flash-sales/${encodeURIComponent(id)}/order`, {
      method: 'POST',
      headers: { 'x-user-id': 'ann' },
    });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([404, 'SALE_NOT_FOUND']);
    expect(await strangeKeys(world.redis, { prefix: world.prefix, ownOnly: true })).toEqual([]);
    expect(await world.redis.keys(`${world.prefix}:{${id.replaceAll(/[*[\]?\\]/g, '\\$&')}}*`)).toEqual([]);
  },
);

test('what buyers send writes no line of its own, and no colours, into the log', async () => {
  const sale = await makeSale(world);
  const before = world.lines.length;
  const id = '"}\\n{"msg":"order';
  const response = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
    method: 'POST',
    headers: { 'x-user-id': id, 'x-request-id': '"},{"a":1' },
  });
  expect(response.status).toBe(200);
  const fresh = world.lines.slice(before);
  const accepted = fresh.filter(({ msg }) => msg === 'order accepted');
  expect(accepted.map(({ buyer_id }) => buyer_id)).toEqual([id]);
  expect(fresh.some((line) => 'a' in line)).toBe(false);
});

test('made-up paths and buyers make no new series of metrics', async () => {
  const port = await freePort();
  await api.parts.metrics.listen({ host: '127.0.0.1', port });
  const count = async () => (await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).split('\n').length;
  await fetch(`${api.url}/warm`);
  const before = await count();
  for (let i = 0; i < 200; i++) {
    await fetch(`${api.url}/made-up/${i}?q=${i}`, { headers: { 'x-user-id': `b${i}` } });
    await fetch(`${api.url}/api/flash-sales/none${i}`, { headers: { 'x-user-id': `b${i}` } });
  }
  // The lines of the two outcomes, not one for each of 400 paths.
  expect((await count()) - before).toBeLessThan(100);
});

test.each([
  ['a deep body', '['.repeat(8_000)],
  ['__proto__', '{"__proto__":{"quantity":1000}}'],
  ['constructor', '{"constructor":{"prototype":{"quantity":1}}}'],
  ['the same field twice', '{"quantity":1,"quantity":5000}'],
])('a body with %s is refused', async (_what, body) => {
  const sale = await makeSale(world);
  const response = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
    method: 'POST',
    headers: { 'x-user-id': 'ann', 'content-type': 'application/json' },
    body,
  });
  expect(response.status).toBe(400);
  expect(({} as { quantity?: number }).quantity).toBeUndefined();
});

test('pages that are asked for and not fetched are bounded, and nobody else notices', async () => {
  const text = request('GET /docs/static/swagger-ui-bundle.js').repeat(20);
  const deaf = Array.from({ length: 20 }, () => openRaw(Number(new URL(api.url).port), text));
  for (const { socket } of deaf) socket.pause();
  const status = async (path: string) => (await fetch(api.url + path)).status;
  try {
    await eventually('no more are taken', 10_000, async () => (await status('/docs/static/index.html')) === 503);
    expect(await status('/api/flash-sales')).toBe(200);
  } finally {
    for (const { socket } of deaf) socket.destroy();
  }
  await eventually('their places are free', 10_000, async () => (await status('/docs/static/index.html')) === 200);
});

test('guessing the operator’s token is bounded by the address limit, before it is compared', async () => {
  const guarded = await startApi(world, { IP_RATE_LIMIT: 20 });
  try {
    const guesses = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        fetch(`${guarded.url}/api/admin/sales`, {
          headers: { authorization: `Bearer guess-${i}`, 'x-forwarded-for': `10.0.0.${i}` },
        }),
      ),
    );
    expect(guesses.filter(({ status }) => status === 401).length).toBeLessThanOrEqual(60);
    expect(guesses.some(({ status }) => status === 429)).toBe(true);
  } finally {
    await guarded.close();
  }
});
