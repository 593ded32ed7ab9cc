/** One trace per order, from real processes to a collector; tracing never fails an order. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { decodeJob, encodeJob } from '@flash-sale/core/queue/order-queue.ts';
import { expect, vi } from 'vitest';
import { openClient, type Reply } from '../support/buyers.ts';
import { times } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { type CollectedSpan, startOtlpCollector } from '../support/otlp-collector.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale, untilSold } from '../support/sales.ts';
import { test as base } from '../support/system-test.ts';
import { eventually, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 60_000 });

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';
const SAMPLED = `00-${TRACE_ID}-${CALLER}-01`;
const ROUTE = 'POST /api/flash-sales/:product_id/order';
const STEPS = [ROUTE, 'reserve', 'enqueue', 'confirm job', 'ledger transaction', 'commit'];
/** Two processes read the clock in whole milliseconds. */
const CLOCK_MS = 1;

/** Reports OpenTelemetry modules on stderr, except the interfaces, which prom-client needs. */
const REPORT_MODULES = `--import=data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  load(url, context, next) {
    if (/@opentelemetry\\/(?!api\\/)/.test(url)) process.stderr.write('LOADED ' + url + '\\n');
    return next(url, context);
  },
});`)}`;

interface Traced {
  readonly api: ServiceProcess;
  readonly worker: ServiceProcess;
  order(saleId: string, buyer: string, traceparent?: string): Promise<Reply>;
}

async function start(world: World, ofBoth: Record<string, string>, ofWorker = ofBoth): Promise<Traced> {
  const [api, worker] = await Promise.all([
    startProcess(world, 'api', ofBoth),
    startProcess(world, 'worker', ofWorker),
  ]);
  const client = openClient(api.url);
  world.onClose(client.close);
  return {
    api,
    worker,
    order: (saleId, buyer, traceparent) =>
      client.ask('POST', `/api/flash-sales/${saleId}/order`, '', {
        'x-user-id': buyer,
        ...(traceparent ? { traceparent } : {}),
      }),
  };
}

const linesWith = ({ output }: ServiceProcess, text: string): string[] =>
  output()
    .split('\n')
    .filter((line) => line.includes(text));

const named = (spans: readonly CollectedSpan[], name: string): CollectedSpan => {
  const found = spans.filter((span) => span.name === name);
  expect(found.map((span) => span.name)).toEqual([name]);
  return found[0] as CollectedSpan;
};

const test = base.extend('collector', async ({ world }) => {
  const collector = await startOtlpCollector();
  world.onClose(() => collector.close());
  return collector;
});

test('an order is one trace: the HTTP request, Redis, the job and the ledger', async ({ world, collector }) => {
  const { api, worker, order } = await start(world, {
    NODE_OPTIONS: REPORT_MODULES,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '1',
  });
  const sale = await makeSale(world, { units: 1 });
  const placed = await order(sale.id, 'a-buyer-of-ours', SAMPLED);
  expect(placed.code).toBe('accepted');
  const ofTrace = () => collector.spans.filter((span) => span.traceId === TRACE_ID);
  await eventually('the whole trace has arrived', 10_000, () => ofTrace().length >= STEPS.length);
  const trace = ofTrace();
  expect(trace.map((span) => span.name).sort()).toEqual([...STEPS].sort());
  const [request, reserve, enqueue, job, ledger, commit] = STEPS.map((name) => named(trace, name)) as [
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
      'flash_sale.order_id': placed.orderId,
    },
  });
  for (const step of [reserve, enqueue]) expect(step).toMatchObject({ service: 'api', parentSpanId: request.spanId });
  expect(reserve.fields).toMatchObject({ 'flash_sale.batch_size': 1, 'db.system.name': 'redis' });
  expect(job).toMatchObject({ service: 'worker', parentSpanId: enqueue.spanId });
  for (const step of [ledger, commit]) expect(step).toMatchObject({ service: 'worker', parentSpanId: job.spanId });
  expect(trace.map((span) => span.fault)).toEqual(STEPS.map(() => undefined));

  for (const span of trace) expect(span.endedAt).toBeGreaterThanOrEqual(span.startedAt);
  // In order within a process; the job starts after its enqueue.
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
  for (const one of [api, worker]) {
    const lines = linesWith(one, placed.orderId as string);
    expect(lines.map((line) => JSON.parse(line).trace_id)).toEqual([TRACE_ID]);
  }

  // A refusal carries its code. Buyers are not in traces.
  expect((await order(sale.id, 'late', SAMPLED)).code).toBe('SOLD_OUT');
  await eventually('the refusal has arrived', 10_000, () => collector.spans.some(({ fault }) => fault === 'SOLD_OUT'));
  expect(collector.texts.join('')).not.toContain('a-buyer-of-ours');

  // The caller's flag decides. A malformed traceparent starts a new trace.
  const before = collector.spans.length;
  await order(sale.id, 'ann', `00-${TRACE_ID}-${CALLER}-00`);
  await order(sale.id, 'bob', `00-${TRACE_ID}-nonsense-01`);
  expect(await api.stop()).toBe(0);
  const requests = collector.spans.slice(before).filter((span) => span.name === ROUTE);
  expect(requests.map((span) => [span.traceId === TRACE_ID, span.parentSpanId])).toEqual([[false, '']]);
  // Control of the test with tracing off.
  for (const one of [api, worker]) expect(one.output()).toContain('LOADED');
});

test('by default each sampled order of a batch has its own trace; a stopping process sends what has ended', async ({
  world,
  collector,
}) => {
  const { api, order } = await start(world, {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER_ARG: '1',
  });
  const sale = await makeSale(world, { units: 41 });
  const placed = await times(40, (n) => order(sale.id, `buyer-${n}`, SAMPLED));
  const { spans } = collector;
  const isComplete = () => spans.filter(({ name }) => name === 'commit').length === placed.length;
  await eventually('all traces have arrived', 15_000, isComplete);
  const byTrace = Map.groupBy(spans, (span) => span.traceId);
  expect(byTrace.size).toBe(40);
  expect(byTrace.has(TRACE_ID)).toBe(false);
  for (const one of byTrace.values()) expect(one.map((span) => span.name).sort()).toEqual([...STEPS].sort());
  expect([...byTrace.values()].map((one) => named(one, ROUTE).fields['flash_sale.order_id']).sort()).toEqual(
    placed.map((one) => one.orderId).sort(),
  );
  // Orders of one script call carry the size of its batch.
  const reserves = spans.filter((span) => span.name === 'reserve');
  const calls = reserves.reduce((sum, span) => sum + 1 / Number(span.fields['flash_sale.batch_size']), 0);
  expect(calls).toBeCloseTo(Math.round(calls));

  const last = await order(sale.id, 'last');
  expect(await api.stop()).toBe(0);
  expect(spans.map((span) => span.fields['flash_sale.order_id'])).toContain(last.orderId);
});

test.concurrent('off: nothing of the SDK is loaded, and no line has a trace id', async ({ world }) => {
  const off = await start(world, { NODE_OPTIONS: REPORT_MODULES });
  const sale = await makeSale(world, { units: 1 });
  await off.order(sale.id, 'ann', SAMPLED);
  await untilSold(world, sale.id, 1);
  for (const one of [off.api, off.worker]) expect(one.output()).not.toMatch(/LOADED|trace_id/);
});

test.concurrent('a collector that is unavailable (API) or silent (worker) costs a log line and no order; both stop in time', async ({
  world,
}) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  world.onClose(() => void silent.close());
  const settings = (port: number) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_TRACES_SAMPLER_ARG: '1',
    SHUTDOWN_TIMEOUT_MS: '3000',
  });
  const { port } = silent.address() as AddressInfo;
  const { api, worker, order } = await start(world, settings(await freePort()), settings(port));
  const sale = await makeSale(world, { units: 50 });
  const placed = await times(50, (n) => order(sale.id, `buyer-${n}`));
  expect(new Set(placed.map((one) => one.code))).toEqual(new Set(['accepted']));
  await untilSold(world, sale.id, placed.length);
  const warnings = () => [api, worker].map((one) => linesWith(one, 'traces cannot be sent').length);
  await eventually('each process has logged it', 15_000, () => warnings().every((lines) => lines > 0));
  expect(await Promise.all([api.stop(), worker.stop()])).toEqual([0, 0]);
  expect(warnings()).toEqual([1, 1]);
});

test.concurrent('a forged traceparent neither fails an order nor makes it sampled', async ({ world, collector }) => {
  const { api, worker, order } = await start(world, {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER_ARG: '0',
  });
  const forged = [
    SAMPLED,
    `00-${'0'.repeat(32)}-${CALLER}-01`,
    `ff-${TRACE_ID}-${CALLER}-01`,
    `${SAMPLED}-${'x'.repeat(4_000)}`,
    '{"$gt":""}',
    "'; DROP TABLE orders; --",
  ];
  const sale = await makeSale(world, { units: forged.length });
  const placed = await Promise.all(forged.map((traceparent, n) => order(sale.id, `buyer-${n}`, traceparent)));
  expect(placed.map((one) => one.code)).toEqual(forged.map(() => 'accepted'));
  await untilSold(world, sale.id, forged.length);
  expect(await Promise.all([api.stop(), worker.stop()])).toEqual([0, 0]);
  expect(collector.requests()).toBe(0);
});

test('a job carries the contexts of sampled orders only; malformed contexts do not fail an order', () => {
  const plain = { buyerId: 'b', quantity: 1, reservedAt: 1, requestId: 'r', idempotencyKey: null };
  const orders = [
    { ...plain, id: newOrderId('s') },
    { ...plain, id: newOrderId('s'), traceparent: SAMPLED },
  ];
  const job = encodeJob({ saleId: 's', epoch: 1, orders });
  expect(job.traces).toEqual([[1, SAMPLED]]);
  expect(decodeJob(job)?.orders).toEqual(orders);
  expect(encodeJob({ saleId: 's', epoch: 1, orders: [orders[0] as (typeof orders)[0]] })).not.toHaveProperty('traces');
  for (const traces of ['x', [[1, 'x']], [['1', SAMPLED]], null]) {
    expect(decodeJob({ ...job, traces })?.orders.map((one) => one.traceparent)).toEqual([undefined, undefined]);
  }
  expect(decodeJob({ ...job, traces: [[7, SAMPLED]] })?.orders).toHaveLength(2);
});
