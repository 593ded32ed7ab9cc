/** The way out of service: not ready and served all the same, and no connection that outlives its last answer. */
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type RunningApi, startApi, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let agent: Agent;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
  agent = new Agent({ keepAlive: true });
});
afterEach(async () => {
  agent.destroy();
  await api.close();
  await world.close();
});

/** Over a connection that is kept. @param body sent once `arrived` says so */
async function send(method: string, path: string, body?: { text: string; when: Promise<void> }) {
  const headers = { 'x-user-id': 'ann', ...(body ? { 'content-type': 'application/json' } : {}) };
  const sent = request(api.url + path, { agent, method, headers });
  if (body) {
    sent.flushHeaders();
    await body.when;
  }
  sent.end(body?.text);
  const [reply] = (await once(sent, 'response')) as [IncomingMessage];
  reply.resume();
  await once(reply, 'end');
  return { status: reply.statusCode, connection: reply.headers.connection };
}

test('while it drains it is not ready, takes orders, and each answer asks to close the connection', async () => {
  const sale = await makeSale(world);
  const order = () => send('POST', `/api/flash-sales/${sale.id}/order`);
  expect(await send('GET', '/health/ready')).toEqual({ status: 200, connection: 'keep-alive' });
  expect(await order()).toEqual({ status: 200, connection: 'keep-alive' });

  const over = api.app.drain(1_000);
  expect(await send('GET', '/health/ready')).toEqual({ status: 503, connection: 'close' });
  expect(await send('GET', '/health/live')).toMatchObject({ status: 200 });
  expect(await order()).toEqual({ status: 200, connection: 'close' });
  await over;
});

test('a connection whose answer was under way as the server closed ends with that answer', async () => {
  const sale = await makeSale(world);
  const arrived = once(api.app.server, 'request');
  let closed = Promise.resolve();
  const order = await send('POST', `/api/flash-sales/${sale.id}/order`, {
    text: '{"quantity":2}',
    when: arrived.then(() => {
      closed = api.app.close();
    }),
  });
  expect(order.status).toBe(200);
  // Without it, for as long as KEEP_ALIVE_TIMEOUT_MS: 72 s.
  await closed;
});

test('a supervisor asks at the port of the metrics whether a process lives and works, a worker too', async () => {
  const port = await freePort();
  const worker = await startProcess(world, 'worker', { METRICS_PORT: String(port) });
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  await eventually('it is ready', 5_000, async () => (await ask('/health/ready')) === 200);
  expect([await ask('/health/live'), await ask('/health/else')]).toEqual([200, 404]);
  expect(await worker.stop()).toBe(0);

  let ready = false;
  const metrics = await api.connections.metrics.listen({ host: '127.0.0.1', port: 0, isReady: () => ready });
  const askHere = async (path: string) => (await fetch(`http://127.0.0.1:${metrics.port}${path}`)).status;
  expect([await askHere('/health/live'), await askHere('/health/ready')]).toEqual([200, 503]);
  ready = true;
  expect(await askHere('/health/ready')).toBe(200);
  metrics.close();
});

test('told to stop, a process is not ready at either door, and serves on at both', async () => {
  const [port, adminPort] = [await freePort(), await freePort()];
  const settings = { PORT: String(port), ADMIN_PORT: String(adminPort), SHUTDOWN_DRAIN_MS: '3000' };
  const child = await startProcess(world, 'api', settings);
  const ask = async (at: number, path = '/health/ready') => {
    const response = await fetch(`http://127.0.0.1:${at}${path}`);
    await response.arrayBuffer();
    return [response.status, response.headers.get('connection')];
  };
  for (const at of [port, adminPort]) expect(await ask(at)).toEqual([200, 'keep-alive']);
  const stopped = child.stop();
  await eventually('it drains', 2_000, async () => (await ask(port))[0] === 503);
  expect(await ask(adminPort)).toEqual([503, 'close']);
  expect(await ask(adminPort, '/health/live')).toEqual([200, 'close']);
  expect(await stopped).toBe(0);
});
