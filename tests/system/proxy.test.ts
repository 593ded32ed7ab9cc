/**
 * The containers' HAProxy file in a real HAProxy: what it retries if an API dies before it answers,
 * and whose X-Forwarded-For it trusts. Behind it two servers count requests and close connections.
 */
import { once } from 'node:events';
import { Agent, createServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { UnpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type Balancer, findHaproxy, SHIPPED_CONFIG, startShippedProxy } from '../support/haproxy.ts';
import { environmentOf } from '../support/program.ts';

const ORDER = '/api/flash-sales/tea/order';
const STOCK = '/api/admin/sales/tea/stock';
const KEY = { 'idempotency-key': 'once-1' };

let haproxy: UnpackedProgram;
let apis: Server[];
let proxy: Balancer;
let arrived: { port: number; headers: IncomingHttpHeaders }[];
/** This many of the next requests are read and not answered. */
let lost: number;

beforeAll(async () => {
  haproxy = await findHaproxy();
  apis = [startApi(), startApi()];
  await Promise.all(apis.map((api) => once(api, 'listening')));
  proxy = await startBefore('192.0.2.1');
}, 120_000);
afterAll(async () => {
  await proxy?.stop();
  for (const api of apis ?? []) api.close();
});
beforeEach(() => {
  arrived = [];
  lost = 0;
});

function startApi(): Server {
  return createServer((asked, reply) => {
    if (asked.url?.startsWith('/health/')) return void reply.end();
    asked.resume().once('end', () => {
      arrived.push({ port: asked.socket.localPort ?? 0, headers: asked.headers });
      if (lost-- > 0) asked.socket.destroy();
      else reply.end('done');
    });
  }).listen(0, '127.0.0.1');
}

async function startBefore(gateways: string): Promise<Balancer> {
  const ports = { crowd: await freePort(), health: await freePort() };
  const behind = apis.map((api) => (api.address() as AddressInfo).port);
  return startShippedProxy(haproxy, ports, behind, gateways);
}

/** Each on its own connection: on a reused one HAProxy closes the connection instead of a 502. */
const send = (method: string, path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${proxy.url}${path}`, {
    method,
    headers: { ...headers, connection: 'close' },
    ...(method === 'POST' ? { body: '{"delta":100}' } : {}),
  });

test('HAProxy accepts the file', async () => {
  const env = environmentOf(haproxy, { GATEWAY_ADDRESSES: '127.0.0.1 10.0.0.0/8' });
  const { exitCode, stderr } = await runCommand(haproxy.path, ['-c', '-f', SHIPPED_CONFIG], { env });
  expect([exitCode, stderr]).toEqual([0, expect.not.stringMatching(/WARNING|ALERT/)]);
});

test.each([
  ['an order without a key', 'POST', ORDER, {}],
  ['a change of stock with a key, which that route ignores', 'POST', STOCK, KEY],
  ['a pause with a key', 'POST', '/api/admin/sales/order/pause', KEY],
  ['a path that only ends like an order', 'POST', '/api/admin/api/flash-sales/tea/order', KEY],
])(
  '[trap 11] %s is sent once if its API dies, and the reply does not claim that nothing was done',
  async (_, method, path, headers) => {
    lost = 1;
    const reply = await send(method, path, headers);
    expect([reply.status, await reply.json()]).toEqual([
      502,
      expect.objectContaining({ code: 'API_CONNECTION_LOST', retryable: false }),
    ]);
    expect(arrived).toHaveLength(1);
  },
);

test.each([
  ['an order with a key', 'POST', ORDER, KEY],
  ['a read', 'GET', '/api/flash-sales', {}],
])('%s whose API dies is answered by the other API', async (_, method, path, headers) => {
  lost = 1;
  const reply = await send(method, path, headers);
  expect([reply.status, await reply.text()]).toEqual([200, 'done']);
  expect(new Set(arrived.map(({ port }) => port)).size).toBe(2);
  expect(arrived).toHaveLength(2);
});

test('on a reused connection an order without a key is not retried: the connection is closed', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = () =>
    new Promise<number>((resolve, reject) => {
      const sent = request(`${proxy.url}${ORDER}`, { method: 'POST', agent }, (reply) => {
        reply.resume().once('end', () => resolve(reply.statusCode ?? 0));
      });
      sent.once('error', reject).end('{}');
    });
  try {
    expect(await post()).toBe(200);
    lost = 1;
    await expect(post()).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(arrived).toHaveLength(2);
  } finally {
    agent.destroy();
  }
});

test('[trap 30] a forged X-Forwarded-For is replaced; the header of a listed gateway is kept', async () => {
  await send('GET', ORDER, { 'x-forwarded-for': '203.0.113.9' });
  const behindGateway = await startBefore('127.0.0.1 10.0.0.0/8');
  try {
    await fetch(`${behindGateway.url}${ORDER}`, { headers: { 'x-forwarded-for': '203.0.113.9' } });
  } finally {
    await behindGateway.stop();
  }
  expect(arrived.map(({ headers }) => headers['x-forwarded-for'])).toEqual(['127.0.0.1', '203.0.113.9']);
});
