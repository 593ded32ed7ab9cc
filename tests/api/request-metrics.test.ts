/** Replies by route and decisions by outcome, as the metrics port shows them. */
import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);

test('each answer counts once, under its route and code, and no text of a buyer is in a label', async () => {
  const sale = await makeSale(world, { units: 2 });
  const statuses = [];
  for (const [saleId, buyer] of [
    [sale.id, 'ann'],
    [sale.id, 'bob'],
    [sale.id, 'cid'],
    [sale.id, 'dan'],
    ['made-up-sale', 'eve'],
    ['made-up-again', 'eve'],
  ] as const)
    statuses.push((await api.order(saleId, { buyer })).status);
  expect(statuses).toEqual([200, 200, 400, 400, 404, 404]);
  await api.ask(`/api/flash-sales/${sale.id}`, { method: 'HEAD' });
  await api.get('/made/up/path');

  const text = await api.metrics();
  const lines = text.split('\n');
  const duration = 'flash_sale_request_duration_seconds';
  const route = 'route="POST /api/flash-sales/:product_id/order"';
  const refused = `${route},kind="refused"`;
  expect(lines).toEqual(
    expect.arrayContaining([
      `${duration}_count{${route},kind="answered"} 2`,
      `${duration}_count{${refused}} 4`,
      // Present before the first one, so that Prometheus sees the increase.
      `${duration}_count{${route},kind="shed"} 0`,
      `${duration}_count{${route},kind="fault"} 0`,
      'flash_sale_refusals_total{code="SOLD_OUT"} 2',
      'flash_sale_refusals_total{code="SALE_NOT_FOUND"} 2',
      'flash_sale_refusals_total{code="LEDGER_BEHIND"} 0',
      'flash_sale_refusals_total{code="OVERLOADED"} 0',
    ]),
  );
  const buckets = lines.filter((line) => line.startsWith(`${duration}_bucket`) && line.includes(refused));
  const counts = buckets.map((line) => Number(line.split(' ').at(-1)));
  expect(counts).toEqual([...counts].sort((a, b) => a - b));
  expect(buckets.at(-1)).toBe(`${duration}_bucket{le="+Inf",${refused}} 4`);
  // The order that took the last unit, or the first refused one, filled the cache.
  const decided = lines.filter((line) => !line.endsWith(' 0')).join('\n');
  for (const labels of ['source="inventory",outcome="reserved"', 'source="cache",outcome="sold_out"'])
    expect(decided).toContain(`flash_sale_decisions_total{${labels}}`);
  expect(text).toMatch(/flash_sale_stage_duration_seconds_count\{[^}]*stage="reserve"/);
  expect(text).not.toMatch(/made-up|made\/up/);
});

test('an idle process shows its pool and how much memory it may use', async () => {
  const text = await api.metrics();
  const states = [...text.matchAll(/^flash_sale_pool_connections\{state="(\w+)"/gm)].map(([, state]) => state);
  expect(states).toEqual(['total', 'idle', 'waiting']);
  const limit = Number(/^flash_sale_memory_limit_bytes (\S+)$/m.exec(text)?.[1]);
  expect(limit).toBeGreaterThan(process.memoryUsage.rss());
  expect(limit).toBeLessThanOrEqual(totalmem());
});
