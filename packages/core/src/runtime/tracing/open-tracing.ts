/**
 * Tracing with OpenTelemetry: the SDK keeps spans in memory, up to a bound, and sends batches over
 * OTLP/HTTP. If the collector is unavailable, spans are lost and a line is logged; orders are not
 * affected. A span is given its parent explicitly: an async context would slow down every request,
 * traced or not.
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
import { millisToHrTime, parseTraceParent, setGlobalErrorHandler } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { SpanKind as Kind, SpanFields, TraceSpan, Tracing } from './tracing.ts';

/** Spans that wait to be sent, about 600 bytes each; more are dropped. */
const QUEUE_MAX = 4_096;
/** Milliseconds between two batches. */
const BATCH_INTERVAL_MS = 1_000;
/** Milliseconds that the collector has to take a batch, retries included. */
const EXPORT_TIMEOUT_MS = 4_000;
/** Milliseconds between two log lines about lost traces. */
const WARN_INTERVAL_MS = 60_000;

/** The bit of a traceparent's flags that says that the caller records this trace. */
const SAMPLED = 1;

const kindOf = (kind: Kind): SpanKind => SpanKind[kind.toUpperCase() as Uppercase<Kind>];

/**
 * @param service name of the process
 * @param options.url of the collector, without /v1/traces
 * @param options.sample share of the requests that are traced, 0 to 1
 * @param options.trust whether a caller's traceparent decides instead, if it sends one
 */
export function openTracing(
  service: string,
  options: { url: string; sample: number; trust: boolean; log: Logger },
): Tracing {
  const { url, sample, trust, log } = options;
  reportLoss(log);
  const exporter = new OTLPTraceExporter({
    url: `${url.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const provider = new TracerProvider({
    // `receive` has already decided.
    sampler: new AlwaysOnSampler(),
    resource: resourceFromAttributes({
      'service.namespace': 'flash-sale',
      'service.name': service,
      'process.pid': process.pid,
    }),
    spanProcessors: [
      new BatchSpanProcessor({ exporter, maxQueueSize: QUEUE_MAX, scheduledDelayMillis: BATCH_INTERVAL_MS }),
    ],
  });
  const tracer = provider.getTracer('flash-sale');

  function begin(traceparent: unknown, kind: Kind, name: string, fields: SpanFields): TraceSpan {
    const parent = typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
    const context = parent ? trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }) : ROOT_CONTEXT;
    // biome-ignore lint/plugin/wall-time: spans have dates
    return startSpan({ tracer, context, origin: Date.now() - performance.now() }, kind, name, fields);
  }

  return {
    receive(name, traceparent, fields) {
      const caller = trust && typeof traceparent === 'string' ? parseTraceParent(traceparent) : null;
      // Not derived from the trace id, which the caller chooses.
      const sampled = caller ? (caller.traceFlags & SAMPLED) !== 0 : Math.random() < sample;
      // An untrusted trace id is not used: many callers could send the same one.
      return sampled ? begin(caller && traceparent, 'server', name, fields) : null;
    },
    resume: begin,
    async close(boundMs) {
      const bound = new Promise<void>((resolve) => setTimeout(resolve, boundMs));
      await Promise.race([provider.shutdown().catch(() => {}), bound]);
    },
  };
}

/**
 * @param at.origin ms since 1970 at performance.now() = 0; shared by a process's spans of one
 * trace, so that they stay in order
 */
function startSpan(
  at: { tracer: Tracer; context: Context; origin: number },
  kind: Kind,
  name: string,
  fields: SpanFields = {},
): TraceSpan {
  const now = () => millisToHrTime(at.origin + performance.now());
  const span: Span = at.tracer.startSpan(
    name,
    { kind: kindOf(kind), startTime: now(), attributes: fields },
    at.context,
  );
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

/**
 * Logs what the SDK reports (failed exports, spans dropped by a full queue), at most once per
 * WARN_INTERVAL_MS.
 */
function reportLoss(log: Logger): void {
  let reportedAt = Number.NEGATIVE_INFINITY;
  function report(err: string): void {
    if (performance.now() - reportedAt < WARN_INTERVAL_MS) return;
    reportedAt = performance.now();
    log.warn({ err }, 'traces cannot be sent and are lost; orders are not affected');
  }
  setGlobalErrorHandler((error) => report(typeof error === 'string' ? error : String(error.message)));
  diag.setLogger(
    { error: report, warn: report, info: () => {}, debug: () => {}, verbose: () => {} },
    { suppressOverrideMessage: true },
  );
}
