/** How a process goes out of service: not ready but serving; connections end with a reply. */
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { afterAll, expect, test } from 'vitest';
import { ask, type TestApi, useWorld, withApi } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const agent = new Agent({ keepAlive: true });
afterAll(() => agent.destroy());

const orderOf = async () => `/api/flash-sales/${(await makeSale(world)).id}/order`;

/** Over a kept connection. @param body sent as soon as `when` resolves */
async function send(api: TestApi, method: string, path: string, body?: { text: string; when: Promise<void> }) {
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

test('while it drains it is not ready, takes orders, and each answer closes its connection', async () => {
  const path = await orderOf();
  await withApi(world, {}, async (api) => {
    expect(await send(api, 'GET', '/health/ready')).toEqual({ status: 200, connection: 'keep-alive' });
    expect(await send(api, 'POST', path)).toEqual({ status: 200, connection: 'keep-alive' });

    const over = api.app.drain(1_000);
    expect(await send(api, 'GET', '/health/ready')).toEqual({ status: 503, connection: 'close' });
    expect(await send(api, 'GET', '/health/live')).toMatchObject({ status: 200 });
    expect(await send(api, 'POST', path)).toEqual({ status: 200, connection: 'close' });
    await over;
  });
});

test('a connection whose answer is pending as the server closes ends with that answer', async () => {
  const path = await orderOf();
  await withApi(world, {}, async (api) => {
    let closed = Promise.resolve();
    const when = once(api.app.server, 'request').then(() => {
      closed = api.app.close();
    });
    expect((await send(api, 'POST', path, { text: '{"quantity":2}', when })).status).toBe(200);
    // Otherwise it would last as long as KEEP_ALIVE_TIMEOUT_MS: 72 s.
    await closed;
  });
});

test('the metrics port says whether a process lives and is ready, of a worker as well', async () => {
  const port = await freePort();
  const worker = await startProcess(world, 'worker', { METRICS_PORT: String(port) });
  const statusOf = async (path: string, at = port) => (await ask(`http://127.0.0.1:${at}${path}`)).status;
  await eventually('it is ready', 5_000, async () => (await statusOf('/health/ready')) === 200);
  expect([await statusOf('/health/live'), await statusOf('/health/else')]).toEqual([200, 404]);
  expect(await worker.stop()).toBe(0);

  await withApi(world, {}, async (api) => {
    let ready = false;
    const metrics = await api.connections.metrics.listen({ host: '127.0.0.1', port: 0, isReady: () => ready });
    expect(await statusOf('/health/live', metrics.port)).toBe(200);
    expect(await statusOf('/health/ready', metrics.port)).toBe(503);
    ready = true;
    expect(await statusOf('/health/ready', metrics.port)).toBe(200);
    metrics.close();
  });
});

test('a stopping process is not ready on either port, and still serves on both', async () => {
  const [port, adminPort] = [await freePort(), await freePort()];
  const settings = { PORT: String(port), ADMIN_PORT: String(adminPort), SHUTDOWN_DRAIN_MS: '3000' };
  const child = await startProcess(world, 'api', settings);
  const told = async (at: number, path = '/health/ready') => {
    const { status, headers } = await ask(`http://127.0.0.1:${at}${path}`);
    return [status, headers.get('connection')];
  };
  for (const at of [port, adminPort]) expect(await told(at)).toEqual([200, 'keep-alive']);
  const stopped = child.stop();
  await eventually('it drains', 2_000, async () => (await told(port))[0] === 503);
  expect(await told(adminPort)).toEqual([503, 'close']);
  expect(await told(adminPort, '/health/live')).toEqual([200, 'close']);
  expect(await stopped).toBe(0);
});
