/** Metrics of real processes over HTTP, while the ledger is unavailable and comes back. */

import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let wayToLedger: TcpProxy;
let processes: ServiceProcess[];
let ports: { api: number; apiMetrics: number; workerMetrics: number };

beforeEach(async () => {
  world = await openWorld(inject('template'));
  wayToLedger = await TcpProxy.listen(await freePort(), Number(new URL(world.databaseUrl).port));
  ports = { api: await freePort(), apiMetrics: await freePort(), workerMetrics: await freePort() };
  processes = [];
});
afterEach(async () => {
  for (const one of processes) await one.kill();
  await wayToLedger.close();
  await world.close();
});

async function start(name: 'api' | 'worker', metricsPort: number): Promise<void> {
  const url = new URL(world.databaseUrl);
  url.host = `127.0.0.1:${wayToLedger.port}`;
  processes.push(
    await startProcess(world, name, {
      PORT: String(ports.api),
      METRICS_PORT: String(metricsPort),
      DATABASE_URL: url.href,
      REQUEST_TIMEOUT_MS: '1000',
    }),
  );
}

/** The value of a series; undefined where there is none. */
async function read(port: number, series: string): Promise<number | undefined> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, expect.stringContaining('text/plain')]);
  const line = (await response.text()).split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length));
}

const health = async (): Promise<AnyJson> => (await fetch(`http://127.0.0.1:${ports.api}/health`)).json();

test('orders, refusals and the state of the breakers, which only the health probe opens and closes', async () => {
  const { api, apiMetrics, workerMetrics } = ports;
  await start('api', apiMetrics);
  await start('worker', workerMetrics);
  const sale = await makeSale(world, { units: 2 });
  const order = (buyer: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${api}/api/flash-sales/${sale.id}/order`, {
      method: 'POST',
      headers: { 'x-user-id': buyer, ...headers },
    });
  await order('ann', { 'idempotency-key': 'k' });
  await order('ann', { 'idempotency-key': 'k' });
  await order('bob');
  for (const buyer of ['cid', 'dan', 'eve']) expect((await order(buyer)).status).toBe(400);
  expect(await read(apiMetrics, 'flash_sale_orders_total{outcome="accepted"}')).toBe(2);
  expect(await read(apiMetrics, 'flash_sale_orders_total{outcome="replayed"}')).toBe(1);
  expect(await read(apiMetrics, 'flash_sale_refusals_total{code="SOLD_OUT"}')).toBe(3);
  expect(await read(apiMetrics, 'process_resident_memory_bytes')).toBeGreaterThan(1e7);
  await eventually('both are confirmed', 10_000, async () => {
    return (await read(workerMetrics, 'flash_sale_orders_total{outcome="confirmed"}')) === 2;
  });
  const states = async () => [
    await read(apiMetrics, 'flash_sale_breaker_state{dependency="redis"}'),
    await read(apiMetrics, 'flash_sale_breaker_state{dependency="postgres"}'),
    await read(workerMetrics, 'flash_sale_breaker_state{dependency="postgres"}'),
  ];
  expect(await states()).toEqual([0, 0, 0]);

  await wayToLedger.refuse();
  // Nobody but /health asks the API's ledger.
  await eventually('/health shows the open breaker', 20_000, async () => {
    return (await health()).breakers.postgres === 'open';
  });
  await eventually('and so do the metrics of both', 20_000, async () => {
    // Unasked, it is half open after some seconds.
    await health();
    const [redis, ofApi, ofWorker] = await states();
    return redis === 0 && ofApi === 2 && ofWorker === 2;
  });

  await wayToLedger.heal();
  await eventually('all are closed again', 20_000, async () => {
    return (await health()).status === 'ok' && (await states()).every((state) => state === 0);
  });
}, 90_000);

test('only GET /metrics is served, on its own port only; a port in use ends the process', async () => {
  await start('api', ports.apiMetrics);
  expect((await fetch(`http://127.0.0.1:${ports.apiMetrics}/`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${ports.apiMetrics}/metrics`, { method: 'POST' })).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${ports.api}/metrics`)).status).toBe(404);
  await expect(start('worker', ports.apiMetrics)).rejects.toThrow(/worker ended \(78\).*EADDRINUSE/s);
}, 30_000);
