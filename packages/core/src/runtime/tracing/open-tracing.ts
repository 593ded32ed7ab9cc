/**
 * Tracing by OpenTelemetry: spans are kept in memory, up to a bound, and sent in batches over OTLP/HTTP. A collector that is away costs the
 * spans and a line now and then, never an order. The spans' parents are said, not felt: no context follows the calls, which would cost every request.
 */
import {
  type Context,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { type ExportResult, ExportResultCode, millisToHrTime, parseTraceParent } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import { TRACING_BATCH_MAX, TRACING_EXPORT_MS, TRACING_PACE_MS, TRACING_QUEUE_MAX, TRACING_WARN_MS } from './bounds.ts';
import type { SpanKind as Kind, SpanFields, TraceSpan, Tracing } from './tracing.ts';

const kinds = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
} as const satisfies Record<Kind, SpanKind>;

/** The flag of a traceparent that says: the caller keeps this trace. */
const SAMPLED = 1;

/**
 * @param service name of the process
 * @param options.url of the collector, without /v1/traces
 * @param options.sample part of the requests that are traced, 0 to 1
 * @param options.trust whether the caller's traceparent says which requests are traced, where it sends one
 */
export function openTracing(
  service: string,
  options: { url: string; sample: number; trust: boolean; log: Logger },
): Tracing {
  const { url, sample, trust, log } = options;
  const lost = createLossReport(log);
  // What the library says by itself: spans that it has no room for.
  diag.setLogger(
    { error: () => {}, warn: (text) => lost(0, text), info: () => {}, debug: () => {}, verbose: () => {} },
    { suppressOverrideMessage: true },
  );
  const exporter = new OTLPTraceExporter({
    url: `${url.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: TRACING_EXPORT_MS,
  });
  const provider = new TracerProvider({
    // What is not sampled never gets here.
    sampler: new AlwaysOnSampler(),
    resource: resourceFromAttributes({
      'service.namespace': 'flash-sale',
      'service.name': service,
      'process.pid': process.pid,
    }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: reporting(exporter, lost),
        maxQueueSize: TRACING_QUEUE_MAX,
        maxExportBatchSize: TRACING_BATCH_MAX,
        scheduledDelayMillis: TRACING_PACE_MS,
        // The exporter gives up first, and says so.
        exportTimeoutMillis: TRACING_EXPORT_MS + 1_000,
      }),
    ],
  });
  const tracer = provider.getTracer('flash-sale');

  function begin(traceparent: unknown, kind: Kind, name: string, fields: SpanFields): TraceSpan {
    const parent = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
    const context = parent ? trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }) : ROOT_CONTEXT;
    return startSpan({ tracer, context, origin: Date.now() - performance.now() }, kind, name, fields);
  }

  return {
    receive(name, traceparent, fields) {
      const caller = trust && typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
      // Not by the trace's id, which is the caller's to choose as well.
      const sampled = caller ? (caller.traceFlags & SAMPLED) !== 0 : Math.random() < sample;
      // One id from a whole crowd would make one trace of all its orders.
      return sampled ? begin(caller && traceparent, 'server', name, fields) : null;
    },
    resume: begin,
    async close(boundMs) {
      const bound = new Promise<void>((resolve) => setTimeout(resolve, boundMs));
      await Promise.race([provider.shutdown().catch(() => {}), bound]);
    },
  };
}

/** @param at.origin ms since 1970 at performance.now() = 0: one for all spans of a trace in a process, so that they stand in order */
function startSpan(
  at: { tracer: Tracer; context: Context; origin: number },
  kind: Kind,
  name: string,
  fields: SpanFields = {},
): TraceSpan {
  const now = () => millisToHrTime(at.origin + performance.now());
  const span: Span = at.tracer.startSpan(name, { kind: kinds[kind], startTime: now(), attributes: fields }, at.context);
  const { traceId, spanId } = span.spanContext();
  return {
    traceparent: `00-${traceId}-${spanId}-01`,
    begin: (childKind, childName, childFields) =>
      startSpan({ ...at, context: trace.setSpan(at.context, span) }, childKind, childName, childFields),
    note: (noted) => void span.setAttributes(noted),
    fail: (message) => void span.setStatus({ code: SpanStatusCode.ERROR, message }),
    end: () => span.end(now()),
  };
}

/** Says what the exporter could not send, and keeps the library from saying it as well. */
function reporting(exporter: SpanExporter, lost: (spans: number, why: string) => void): SpanExporter {
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        if (result.code !== ExportResultCode.SUCCESS) lost(spans.length, result.error?.message ?? 'unknown');
        done({ code: ExportResultCode.SUCCESS });
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}

/** One line in TRACING_WARN_MS, with what was lost since the last one. */
function createLossReport(log: Logger): (spans: number, why: string) => void {
  let since = 0;
  let saidAt = Number.NEGATIVE_INFINITY;
  return (spans, err) => {
    since += spans;
    if (performance.now() - saidAt < TRACING_WARN_MS) return;
    saidAt = performance.now();
    log.warn({ spans: since, err }, 'traces cannot be sent and are lost; orders go on');
    since = 0;
  };
}
