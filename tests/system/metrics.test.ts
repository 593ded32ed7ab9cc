/** Metrics of real processes over HTTP, while the ledger is unavailable and after it is back. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { openClient } from '../support/buyers.ts';
import { ask } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { proxyBefore } from '../support/tcp-proxy.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

/** The value of a series; undefined if there is none. */
async function read(port: string, series: string): Promise<number | undefined> {
  const { status, headers, text } = await ask(`http://127.0.0.1:${port}/metrics`);
  expect([status, headers.get('content-type')]).toEqual([200, expect.stringContaining('text/plain')]);
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length));
}

/** `name{label,label}` of each of our metrics that the two processes export. */
async function exportedLabels(...ports: string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const port of ports) {
    const { text } = await ask(`http://127.0.0.1:${port}/metrics`);
    for (const [, name, labels = ''] of text.matchAll(
      /^(flash_sale_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$/gm,
    )) {
      const names = [...labels.matchAll(/(\w+)="/g)].map((match) => match[1]).filter((label) => label !== 'le');
      found.add(names.length === 0 ? (name as string) : `${name}{${names.sort().join(',')}}`);
    }
  }
  return [...found].sort();
}

/** The same, in docs/reference.md. */
function documentedLabels(): string[] {
  const page = readFileSync(join(root, 'docs/reference.md'), 'utf8');
  return [...page.matchAll(/^\| `(flash_sale_\w+(?:\{[\w,]+\})?)/gm)].map((match) => match[1] as string).sort();
}

test('orders, refusals and the state of the breakers, which only the health probe opens and closes', async ({
  world,
}) => {
  const { proxy, url: DATABASE_URL } = await proxyBefore(world, world.databaseUrl);
  const [apiMetrics, workerMetrics] = [String(await freePort()), String(await freePort())];
  const settings = { DATABASE_URL, REQUEST_TIMEOUT_MS: '1000' };
  const [api] = await Promise.all([
    startProcess(world, 'api', { ...settings, METRICS_PORT: apiMetrics }),
    startProcess(world, 'worker', { ...settings, METRICS_PORT: workerMetrics }),
  ]);
  const sale = await makeSale(world, { units: 2 });
  const client = openClient(api.url);
  const order = (buyer: string, headers: Record<string, string> = {}) =>
    client.ask('POST', `/api/flash-sales/${sale.id}/order`, '', { 'x-user-id': buyer, ...headers });
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
  expect(await exportedLabels(apiMetrics, workerMetrics)).toEqual(documentedLabels());

  const health = async () => (await ask(`${api.url}/health`)).body;
  proxy.refuse();
  // In the API, only /health uses the ledger.
  await eventually('/health shows the open breaker', 20_000, async () => {
    return (await health()).breakers.postgres === 'open';
  });
  await eventually('and so do the metrics of both', 20_000, async () => {
    // Without calls it is half open after some seconds.
    await health();
    const [redis, ofApi, ofWorker] = await states();
    return redis === 0 && ofApi === 2 && ofWorker === 2;
  });

  proxy.heal();
  await eventually('all are closed again', 20_000, async () => {
    return (await health()).status === 'ok' && (await states()).every((state) => state === 0);
  });
}, 90_000);

test('only GET /metrics is served, on its own port only; a port in use ends the process', async ({ world }) => {
  const METRICS_PORT = String(await freePort());
  const api = await startProcess(world, 'api', { METRICS_PORT });
  const ofMetrics = `http://127.0.0.1:${METRICS_PORT}`;
  expect((await ask(`${ofMetrics}/`)).status).toBe(404);
  expect((await ask(`${ofMetrics}/metrics`, { method: 'POST' })).status).toBe(404);
  expect((await ask(`${api.url}/metrics`)).status).toBe(404);
  const second = startProcess(world, 'worker', { METRICS_PORT });
  await expect(second).rejects.toThrow(
    new RegExp(
      `worker ended \\(78\\).*worker: Port ${METRICS_PORT} on \\S+ \\(METRICS_PORT\\) is taken.*METRICS_PORT=\\d+\\s*$`,
      's',
    ),
  );
}, 30_000);
