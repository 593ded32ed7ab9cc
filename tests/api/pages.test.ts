/** Web pages are files in memory: compressed, cacheable, and never in the way of an order. */
import { once } from 'node:events';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { LOGIN, type TestApi, times, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { openRaw, request, statusesOf } from '../support/raw-connection.ts';
import { eventually } from '../support/world.ts';

const BUNDLE = '/docs/static/swagger-ui-bundle.js';
const world = useWorld();
const api = useApi(world);
const portOf = ({ url }: Pick<TestApi, 'url'>): number => Number(new URL(url).port);

test('a page is compressed for those who accept it, and is not sent again to those who have it', async () => {
  const plain = await fetch(api.url + BUNDLE, { headers: { 'accept-encoding': 'identity' } });
  const bytes = Buffer.from(await plain.arrayBuffer());
  expect([plain.headers.get('content-encoding'), Number(plain.headers.get('content-length'))]).toEqual([
    null,
    bytes.length,
  ]);
  expect(plain.headers.get('cache-control')).toBe('max-age=300');
  expect(plain.headers.get('vary')).toBe('accept-encoding');

  // fetch would unpack it.
  const raw = openRaw(portOf(api), request(`GET ${BUNDLE}`, ['Accept-Encoding: br, gzip', 'Connection: close']));
  const pieces: Buffer[] = [];
  raw.socket.on('data', (piece) => pieces.push(piece));
  await once(raw.socket, 'close');
  const received = Buffer.concat(pieces);
  const head = received.indexOf('\r\n\r\n');
  expect(received.subarray(0, head).toString()).toMatch(/content-encoding: gzip/);
  expect(received.length).toBeLessThan(bytes.length / 3);
  expect(gunzipSync(received.subarray(head + 4))).toEqual(bytes);

  const etag = plain.headers.get('etag') ?? '';
  const again = await fetch(api.url + BUNDLE, { headers: { 'if-none-match': etag, 'cache-control': 'max-age=0' } });
  expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
});

test('what an operator sees is not kept', async () => {
  for (const path of ['/admin/queues', '/admin/queues/api/queues'])
    expect((await api.get(path, LOGIN)).headers.get('cache-control'), path).toBe('private, no-store');
});

test('a page has one name: other spellings are not found', async () => {
  const names = ['/docs/static/%73wagger-ui.css', '/docs/static/./swagger-ui.css', '/docs//json', '/%64ocs/json'];
  const raw = openRaw(portOf(api), names.map((name) => request(`GET ${name}`)).join(''));
  await eventually('all are answered', 5_000, () => statusesOf(raw.received).length === names.length);
  raw.socket.destroy();
  expect(statusesOf(raw.received)).toEqual([404, 404, 404, 404]);
  expect((await api.get('/docs/json?again')).body.openapi).toBe('3.1.0');
});

test.each(['/docs/nothing', '/admin/queues/api/queues/none', '/admin/queues/static/none.js', '/admin/queues/%zz'])(
  'an error below the pages is a problem: %s',
  async (path) => {
    const { headers, body } = await api.get(path, LOGIN);
    expect(headers.get('content-type')).toContain('application/problem+json');
    expect(['NOT_FOUND', 'INVALID_REQUEST']).toContain(body.code);
  },
);

test('a connection has few pages at a time', async () => {
  const text = request(`GET ${BUNDLE}`) + request('GET /docs/static/index.css').repeat(10);
  const greedy = openRaw(portOf(api), text + request('GET /health/live', ['Connection: close']));
  let all = '';
  greedy.socket.on('data', (piece) => (all += piece.toString('latin1')));
  await once(greedy.socket, 'close');
  expect(statusesOf(all)).toEqual([200, 200, 200, 200, ...Array(7).fill(503), 200]);
});

test('pages that clients do not read are 200 at a time, and further ones are shed', async () => {
  await withApi(world, { TRUST_PROXY: 'loopback' }, async (behindProxy) => {
    const statusOf = async (path: string) => (await behindProxy.get(path, { 'x-forwarded-for': '10.0.1.1' })).status;
    expect(await statusOf('/docs/json')).toBe(200);
    // Far more than 200 pages: the kernel's buffers take some of them.
    const unread = Array.from({ length: 250 }, (_, i) =>
      openRaw(portOf(behindProxy), request(`GET ${BUNDLE}`, [`X-Forwarded-For: 10.0.0.${i}`]).repeat(4)),
    );
    for (const { socket } of unread) socket.pause();
    await eventually('all places are taken', 5_000, async () => (await statusOf('/docs/json')) === 503);
    expect(await statusOf('/health/live')).toBe(200);
    for (const { socket } of unread) socket.destroy();
    await eventually('they are free again', 5_000, async () => (await statusOf('/docs/json')) === 200);
  });
});

test('a turn of the event loop serves one piece of a page: orders wait behind no crowd of pages', async () => {
  await withApi(world, {}, async ({ app }) => {
    await app.inject(BUNDLE);
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns += 1;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const pages = await times(20, () => app.inject(BUNDLE));
    isOver = true;
    const pieces = pages.map(({ statusCode, rawPayload }) => (statusCode === 200 ? rawPayload.length / 65_536 : 0));
    expect(Math.min(...pieces)).toBeGreaterThan(10);
    expect(turns).toBeGreaterThanOrEqual(pieces.reduce((sum, count) => sum + count));
  });
});
