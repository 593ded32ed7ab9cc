/** One trace of an order, from real processes, as a collector receives it; and that tracing never stands in an order's way. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { decodeJob, encodeJob } from '@flash-sale/core/queue/order-queue.ts';
import { afterEach, beforeEach, expect, inject, onTestFinished, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { type CollectedSpan, type OtlpCollector, startOtlpCollector } from '../support/otlp-collector.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';

/** Clocks of two processes are read in whole milliseconds. */
const CLOCK_MS = 1;

let world: World;
let collector: OtlpCollector;
let processes: ServiceProcess[];
let base: string;

beforeEach(async () => {
  world = await openWorld(inject('template'));
  collector = await startOtlpCollector();
  processes = [];
});
afterEach(async () => {
  for (const one of processes) await one.kill();
  await collector.close();
  await world.close();
});

async function startBoth(changed: Record<string, string>): Promise<void> {
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  const settings = { PORT: String(port), ...changed };
  processes = await Promise.all([startProcess(world, 'api', settings), startProcess(world, 'worker', settings)]);
}

async function order(saleId: string, buyer: string, headers: Record<string, string> = {}): Promise<AnyJson> {
  const response = await fetch(`${base}/api/flash-sales/${saleId}/order`, {
    method: 'POST',
    headers: { 'x-user-id': buyer, ...headers },
  });
  return response.json();
}

async function whenConfirmed(orderId: string, buyer: string): Promise<void> {
  await eventually('the order is confirmed', 10_000, async () => {
    const response = await fetch(`${base}/api/orders/${orderId}`, { headers: { 'x-user-id': buyer } });
    return ((await response.json()) as AnyJson).status === 'confirmed';
  });
}

const whenSold = (saleId: string, units: number): Promise<void> =>
  eventually('all orders are confirmed', 20_000, async () => {
    const { rows } = await world.pool.query('SELECT sold FROM sales WHERE id = $1', [saleId]);
    return rows[0].sold === units;
  });

/** Tells on stderr of each module of OpenTelemetry that is loaded, but for its interfaces, which prom-client brings. */
const TELLS_MODULES = `--import=data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    if (/@opentelemetry\\/(?!api\\/)/.test(url)) process.stderr.write('LOADED ' + url + '\\n');
    return next(url, context);
  },
});`)}`;

const named = (spans: readonly CollectedSpan[], name: string): CollectedSpan => {
  const found = spans.filter((span) => span.name === name);
  expect(found.map((span) => span.name)).toEqual([name]);
  return found[0] as CollectedSpan;
};

const ROUTE = 'POST /api/flash-sales/:product_id/order';
const PARTS = [ROUTE, 'reserve', 'enqueue', 'confirm job', "the ledger's transaction", 'commit'];

test('an order is one trace, from the HTTP request through Redis and the job to the ledger', async () => {
  await startBoth({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '1',
  });
  const sale = await makeSale(world, { units: 1 });
  const placed = await order(sale.id, 'a-buyer-of-ours', { traceparent: `00-${TRACE_ID}-${CALLER}-01` });
  expect(placed.status).toBe('accepted');
  const ofTrace = () => collector.spans.filter((span) => span.traceId === TRACE_ID);
  await eventually('the whole trace has come', 10_000, () => ofTrace().length >= PARTS.length);
  const trace = ofTrace();
  expect(trace.map((span) => span.name).sort()).toEqual([...PARTS].sort());

  const [request, reserve, enqueue, job, ledger, commit] = PARTS.map((name) => named(trace, name)) as [
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
    CollectedSpan,
  ];
  expect(request).toMatchObject({
    service: 'api',
    parentSpanId: CALLER,
    fields: {
      'http.route': '/api/flash-sales/:product_id/order',
      'http.response.status_code': 200,
      'flash_sale.sale_id': sale.id,
      'flash_sale.order_id': placed.order_id,
    },
  });
  for (const part of [reserve, enqueue]) {
    expect(part).toMatchObject({ service: 'api', parentSpanId: request.spanId });
  }
  expect(reserve.fields).toMatchObject({ 'flash_sale.batch_size': 1, 'db.system.name': 'redis' });
  expect(job).toMatchObject({ service: 'worker', parentSpanId: enqueue.spanId });
  for (const part of [ledger, commit]) expect(part).toMatchObject({ service: 'worker', parentSpanId: job.spanId });
  expect(trace.map((span) => span.fault)).toEqual(PARTS.map(() => undefined));

  for (const span of trace) expect(span.endedAt).toBeGreaterThanOrEqual(span.startedAt);
  // One after the other within a process, and the job after its enqueue began.
  for (const [earlier, later] of [
    [reserve.endedAt, enqueue.startedAt],
    [reserve.endedAt, request.endedAt],
    [ledger.endedAt, commit.startedAt],
    [commit.endedAt, job.endedAt],
    [request.startedAt, reserve.startedAt],
    [job.startedAt, ledger.startedAt],
  ] as const) {
    expect(later).toBeGreaterThanOrEqual(earlier - 0.001);
  }
  expect(job.startedAt).toBeGreaterThanOrEqual(enqueue.startedAt - CLOCK_MS);

  for (const one of processes) {
    const lines = one
      .output()
      .split('\n')
      .filter((line) => line.includes(placed.order_id));
    expect(lines.map((line) => JSON.parse(line).trace_id)).toEqual([TRACE_ID]);
  }

  // Who bought is nobody's business there; a refusal says its code.
  const late = await order(sale.id, 'late', { traceparent: `00-${TRACE_ID}-${CALLER}-01` });
  expect(late.code).toBe('SOLD_OUT');
  await eventually('the refusal has come', 10_000, () => collector.spans.some((span) => span.fault === 'SOLD_OUT'));
  expect(collector.texts.join('')).not.toContain('a-buyer-of-ours');

  // The caller's flag decides; a malformed traceparent begins a trace of its own.
  const before = collector.spans.length;
  await order(sale.id, 'ann', { traceparent: `00-${TRACE_ID}-${CALLER}-00` });
  await order(sale.id, 'bob', { traceparent: `00-${TRACE_ID}-nonsense-01` });
  expect(await processes[0]?.stop()).toBe(0);
  const requests = collector.spans.slice(before).filter((span) => span.name === ROUTE);
  expect(requests.map((span) => [span.traceId === TRACE_ID, span.parentSpanId])).toEqual([[false, '']]);
}, 60_000);

test('each sampled order of a call and a job has a trace of its own, also where a crowd sends one id; a process that stops sends what has ended', async () => {
  await startBoth({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER_ARG: '1' });
  const sale = await makeSale(world, { units: 41 });
  const traceparent = `00-${TRACE_ID}-${CALLER}-01`;
  const placed = await Promise.all(Array.from({ length: 40 }, (_, n) => order(sale.id, `buyer-${n}`, { traceparent })));
  const jobs = () => collector.spans.filter((span) => span.name === 'commit');
  await eventually('all traces have come', 15_000, () => jobs().length === placed.length);
  const byTrace = Map.groupBy(collector.spans, (span) => span.traceId);
  expect(byTrace.size).toBe(40);
  expect(byTrace.has(TRACE_ID)).toBe(false);
  for (const spans of byTrace.values()) expect(spans.map((span) => span.name).sort()).toEqual([...PARTS].sort());
  expect([...byTrace.values()].map((spans) => named(spans, ROUTE).fields['flash_sale.order_id']).sort()).toEqual(
    placed.map((one) => one.order_id).sort(),
  );
  // Orders that one call decided name the same call.
  const sizes = collector.spans
    .filter((span) => span.name === 'reserve')
    .map((span) => Number(span.fields['flash_sale.batch_size']));
  const calls = sizes.reduce((sum, size) => sum + 1 / size, 0);
  expect(calls).toBeCloseTo(Math.round(calls));

  const last = await order(sale.id, 'last');
  expect(await processes[0]?.stop()).toBe(0);
  expect(collector.spans.map((span) => span.fields['flash_sale.order_id'])).toContain(last.order_id);
}, 60_000);

test('off: nothing of the SDK is loaded, and nothing is sent', async () => {
  await startBoth({ NODE_OPTIONS: TELLS_MODULES, OTEL_TRACES_SAMPLER_ARG: '1' });
  const sale = await makeSale(world, { units: 1 });
  const placed = await order(sale.id, 'ann', { traceparent: `00-${TRACE_ID}-${CALLER}-01` });
  await whenConfirmed(placed.order_id, 'ann');
  for (const one of processes) expect(one.output()).not.toMatch(/LOADED|trace_id/);
  expect(collector.requests()).toBe(0);
  // The control: the same look finds it where it is.
  processes.push(
    await startProcess(world, 'worker', { NODE_OPTIONS: TELLS_MODULES, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }),
  );
  expect(processes.at(-1)?.output()).toContain('LOADED');
}, 60_000);

test.each([
  ['unavailable', false],
  ['silent', true],
])(
  'a collector that is %s costs a line and no order; a process stops in time',
  async (_, silent) => {
    const port = await freePort();
    const held = createServer(() => {});
    if (silent) await once(held.listen(port, '127.0.0.1'), 'listening');
    onTestFinished(() => void held.close());
    await startBoth({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_TRACES_SAMPLER_ARG: '1',
      SHUTDOWN_TIMEOUT_MS: '3000',
    });
    const sale = await makeSale(world, { units: 50 });
    const placed = await Promise.all(Array.from({ length: 50 }, (_, n) => order(sale.id, `buyer-${n}`)));
    expect(new Set(placed.map((one) => one.status))).toEqual(new Set(['accepted']));
    await whenSold(sale.id, placed.length);
    const warnings = () =>
      processes.map(
        (one) =>
          one
            .output()
            .split('\n')
            .filter((line) => line.includes('traces cannot be sent')).length,
      );
    await eventually('each process has said it', 15_000, () => warnings().every((lines) => lines > 0));
    expect(await Promise.all(processes.map((one) => one.stop()))).toEqual([0, 0]);
    expect(warnings()).toEqual([1, 1]);
  },
  60_000,
);

test('a forged traceparent neither breaks an order nor makes it sampled', async () => {
  await startBoth({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER_ARG: '0' });
  const forged = [
    `00-${TRACE_ID}-${CALLER}-01`,
    `00-${'0'.repeat(32)}-${CALLER}-01`,
    `ff-${TRACE_ID}-${CALLER}-01`,
    `00-${TRACE_ID}-${CALLER}-01-${'x'.repeat(4_000)}`,
    '{"$gt":""}',
    "'; DROP TABLE orders; --",
  ];
  const sale = await makeSale(world, { units: forged.length });
  for (const [n, traceparent] of forged.entries()) {
    expect((await order(sale.id, `buyer-${n}`, { traceparent })).status).toBe('accepted');
  }
  await whenSold(sale.id, forged.length);
  expect(await Promise.all(processes.map((one) => one.stop()))).toEqual([0, 0]);
  expect(collector.requests()).toBe(0);
}, 60_000);

test('a job carries the contexts of sampled orders only; what is wrong with them keeps no order from the ledger', () => {
  const traceparent = `00-${TRACE_ID}-${CALLER}-01`;
  const plain = { buyerId: 'b', quantity: 1, reservedAt: 1, requestId: 'r', idempotencyKey: null };
  const orders = [
    { ...plain, id: newOrderId('s') },
    { ...plain, id: newOrderId('s'), traceparent },
  ];
  const job = encodeJob({ saleId: 's', epoch: 1, orders });
  expect(job.traces).toEqual([[1, traceparent]]);
  expect(decodeJob(job)?.orders).toEqual(orders);
  expect(encodeJob({ saleId: 's', epoch: 1, orders: [orders[0] as (typeof orders)[0]] })).not.toHaveProperty('traces');
  for (const traces of ['x', [[1, 'x']], [['1', traceparent]], null]) {
    expect(decodeJob({ ...job, traces })?.orders.map((one) => one.traceparent)).toEqual([undefined, undefined]);
  }
  expect(decodeJob({ ...job, traces: [[7, traceparent]] })?.orders).toHaveLength(2);
});
