/**
 * The trace of one order of a crowd, as a collector receives it from a system that runs in production mode. With --write the page in
 * docs/measurements is made.
 *
 *   npm run measure:trace -- [--orders 200] [--write]
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CollectedSpan, startOtlpCollector } from '../tests/support/otlp-collector.ts';
import { BenchSystem } from './bench/bench-system.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = readArguments(import.meta.url, {
  options: { orders: { type: 'string', default: '200' }, write: { type: 'boolean', default: false } },
});
const orders = Number(values.orders);

/** Spans of an order that is confirmed. */
const SPANS_AN_ORDER = 7;

const collector = await startOtlpCollector();
const system = await BenchSystem.start({ settings: { TRACING_URL: collector.url, TRACING_SAMPLE: '1' } });
try {
  const saleId = await system.makeSale({ units: orders * 2 });
  // The first half warms the system.
  await crowd(saleId, 'early');
  await system.settled(saleId);
  const warm = collector.spans.length;
  await crowd(saleId, 'late');
  await system.settled(saleId);
  // Processes that stop send what they have.
  await system.stop();
  if (collector.spans.length < 2 * orders * SPANS_AN_ORDER) throw new Error('spans are missing');
  const traces = [...Map.groupBy(collector.spans.slice(warm), (span) => span.traceId).values()];
  // In the middle of those that are whole: neither the first of its batch nor the last.
  const whole = traces.filter((spans) => spans.length === SPANS_AN_ORDER);
  const text = page(whole[Math.floor(whole.length / 2)] as CollectedSpan[]);
  process.stdout.write(text);
  if (values.write) writeFileSync(join(root, 'docs', 'measurements', 'trace.md'), text);
} finally {
  await system.stop().catch(() => {});
  await collector.close();
}

async function crowd(saleId: string, name: string): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: orders }, (_, n) =>
      fetch(`${system.url}/api/flash-sales/${saleId}/order`, {
        method: 'POST',
        headers: { 'x-user-id': `${name}-${n}` },
      }),
    ),
  );
  if (answers.some((answer) => answer.status !== 200)) throw new Error('an order was refused');
  await Promise.all(answers.map((answer) => answer.text()));
}

function page(spans: readonly CollectedSpan[]): string {
  const begin = Math.min(...spans.map((span) => span.startedAt));
  const ids = new Set(spans.map((span) => span.spanId));
  const rows: string[] = [];
  const add = (of: readonly CollectedSpan[], depth: number): void => {
    for (const span of of.toSorted((a, b) => a.startedAt - b.startedAt)) {
      const at = (span.startedAt - begin).toFixed(2);
      const lasted = (span.endedAt - span.startedAt).toFixed(2);
      rows.push(`| ${'– '.repeat(depth)}${span.name} | ${span.service} | ${at} | ${lasted} | ${fieldList(span)} |`);
      add(
        spans.filter((one) => one.parentSpanId === span.spanId),
        depth + 1,
      );
    }
  };
  add(
    spans.filter((span) => !ids.has(span.parentSpanId)),
    0,
  );
  const bytes = collector.texts.join('').length / (2 * orders);
  return `# The trace of one order

One of ${orders} orders that arrive at the same moment, every one of them traced, as a collector received it over OTLP/HTTP. Times are in ms from
its first span; a dash in front is one step down in the trace, and what the span tells is shortened.

| span | of | begins, ms | lasts, ms | tells |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

- Trace \`${spans[0]?.traceId}\`.
- A traced order is ${(bytes / 1_000).toFixed(1)} kB to the collector, in ${SPANS_AN_ORDER} spans; ${2 * orders} orders went in ${collector.requests()} requests.

${measuredBy(`pnpm measure:trace --orders ${orders} --write`)}`;
}

function fieldList({ fields }: CollectedSpan): string {
  return Object.entries(fields)
    .filter(([name]) => /batch|status|order_id|attempt|db\.system/.test(name))
    .map(([name, value]) => `\`${name}\` ${value}`)
    .join(', ');
}
