/** Answers counted by the route as it is registered, and decisions by the word of the inventory: over the port of the metrics. */
import { totalmem } from 'node:os';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { type RunningApi, startApi } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let metrics: { readonly port: number; close(): void };

beforeEach(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
  metrics = await api.connections.metrics.listen({ host: '127.0.0.1', port: 0 });
});
afterEach(async () => {
  metrics.close();
  await api.close();
  await world.close();
});

/** Lines of the metrics that begin so. */
async function linesOf(name: string): Promise<string[]> {
  const text = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith(`${name}{`));
}

async function order(saleId: string, buyer: string): Promise<number> {
  const url = `${api.url}/api/flash-sales/${saleId}/order`;
  const response = await fetch(url, { method: 'POST', headers: { 'x-user-id': buyer } });
  await response.text();
  return response.status;
}

test('each answer once, under its route and code, and no name that a buyer made up', async () => {
  const sale = await makeSale(world, { units: 2 });
  const statuses = [];
  for (const buyer of ['ann', 'bob', 'cid', 'dan']) statuses.push(await order(sale.id, buyer));
  statuses.push(await order('made-up-sale', 'eve'), await order('made-up-again', 'eve'));
  expect(statuses).toEqual([200, 200, 400, 400, 404, 404]);
  await fetch(`${api.url}/api/flash-sales/${sale.id}`, { method: 'HEAD' });
  await fetch(`${api.url}/made/up/path`);

  const route = 'route="POST /api/flash-sales/:product_id/order"';
  expect(await linesOf('flash_sale_request_duration_seconds_count')).toEqual(
    expect.arrayContaining([
      `flash_sale_request_duration_seconds_count{${route},kind="answered"} 2`,
      `flash_sale_request_duration_seconds_count{${route},kind="refused"} 4`,
      // Present before the first one, so that Prometheus sees the increase.
      `flash_sale_request_duration_seconds_count{${route},kind="shed"} 0`,
      `flash_sale_request_duration_seconds_count{${route},kind="fault"} 0`,
    ]),
  );
  const of = `${route},kind="refused"`;
  expect(await linesOf('flash_sale_refusals_total')).toEqual(
    expect.arrayContaining([
      'flash_sale_refusals_total{code="SOLD_OUT"} 2',
      'flash_sale_refusals_total{code="SALE_NOT_FOUND"} 2',
      'flash_sale_refusals_total{code="LEDGER_BEHIND"} 0',
      'flash_sale_refusals_total{code="OVERLOADED"} 0',
    ]),
  );
  const times = (await linesOf('flash_sale_request_duration_seconds_bucket')).filter((line) => line.includes(of));
  const counts = times.map((line) => Number(line.split(' ').at(-1)));
  expect(counts).toEqual([...counts].sort((a, b) => a - b));
  expect(times.at(-1)).toBe(`flash_sale_request_duration_seconds_bucket{le="+Inf",${of}} 4`);

  // The order that took the last unit, or the first that was refused, tells it to the memory.
  const words = (await linesOf('flash_sale_decisions_total'))
    .filter((line) => !line.endsWith(' 0'))
    .map((line) => line.split(/[{}]/)[1]);
  expect(words).toEqual(
    expect.arrayContaining(['source="inventory",outcome="reserved"', 'source="cache",outcome="sold_out"']),
  );
  expect((await linesOf('flash_sale_stage_duration_seconds_count')).join()).toMatch(/stage="reserve"/);
  const all = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text();
  expect(all).not.toMatch(/made-up|made\/up/);
});

test('a process that has no crowd tells its pool and what memory it may use', async () => {
  expect((await linesOf('flash_sale_pool_connections')).map((line) => line.split('"')[1])).toEqual([
    'total',
    'idle',
    'waiting',
  ]);
  const text = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text();
  const limit = Number(/^flash_sale_memory_limit_bytes (\S+)$/m.exec(text)?.[1]);
  expect(limit).toBeGreaterThan(process.memoryUsage.rss());
  expect(limit).toBeLessThanOrEqual(totalmem());
});
