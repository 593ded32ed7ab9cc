/**
 * One trace of an order, from the HTTP request to the ledger. Only open-tracing.ts knows the SDK,
 * and is loaded only if tracing is on. An order that is not sampled has null instead of a span.
 */

/** As OpenTelemetry names them. */
export type SpanKind = 'server' | 'client' | 'producer' | 'consumer' | 'internal';

export type SpanFields = Readonly<Record<string, string | number>>;

/** One step in the trace of a sampled order, from `begin` to `end`. No method throws or waits. */
export interface TraceSpan {
  /** W3C traceparent, for the next process. */
  readonly traceparent: string;
  begin(kind: SpanKind, name: string, fields?: SpanFields): TraceSpan;
  note(fields: SpanFields): void;
  /** Marks a refusal or a fault. @param why code or sentence */
  fail(why: string): void;
  end(): void;
}

export interface Tracing {
  /**
   * Begins the span of a request.
   *
   * @param traceparent header as the client sent it: any text
   * @returns null if the request is not sampled
   */
  receive(name: string, traceparent: unknown, fields: SpanFields): TraceSpan | null;
  /** Continues a trace in another process. @param traceparent of one of our spans */
  resume(traceparent: string, kind: SpanKind, name: string, fields: SpanFields): TraceSpan;
  /** Sends what has ended. Resolves within `boundMs` milliseconds, whether it was sent or not. */
  close(boundMs: number): Promise<void>;
}

/**
 * Spans of the sampled orders of a batch: the batch is processed once, and each of their traces
 * shows it.
 */
export class SpanGroup {
  readonly #spans: ReadonlyMap<string, TraceSpan>;

  /** @param spans by order id, at least one */
  constructor(spans: ReadonlyMap<string, TraceSpan>) {
    this.#spans = spans;
  }

  begin(kind: SpanKind, name: string, fields?: SpanFields): SpanGroup {
    return new SpanGroup(new Map(Array.from(this.#spans, ([id, span]) => [id, span.begin(kind, name, fields)])));
  }

  /** @returns undefined if the order is not sampled */
  traceparentOf(orderId: string): string | undefined {
    return this.#spans.get(orderId)?.traceparent;
  }

  /** Marks one order of the batch as failed. */
  failOne(orderId: string, why: string): void {
    this.#spans.get(orderId)?.fail(why);
  }

  /** Ends the spans when the work ends, as failed if it throws. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      for (const span of this.#spans.values()) span.fail((error as Error).message);
      throw error;
    } finally {
      for (const span of this.#spans.values()) span.end();
    }
  }
}

/**
 * Begins a span for each sampled order, as a part of the span that it comes from.
 *
 * @returns null if no order is sampled
 */
export function resumeSpans(
  tracing: Tracing | null,
  orders: Iterable<{ readonly id: string; readonly traceparent?: string | undefined }>,
  span: { readonly kind: SpanKind; readonly name: string; readonly fields: SpanFields },
): SpanGroup | null {
  if (tracing === null) return null;
  const spans = new Map<string, TraceSpan>();
  for (const { id, traceparent } of orders) {
    if (traceparent === undefined) continue;
    const fields = { ...span.fields, 'flash_sale.order_id': id };
    spans.set(id, tracing.resume(traceparent, span.kind, span.name, fields));
  }
  return spans.size > 0 ? new SpanGroup(spans) : null;
}

/** Runs the work within the spans, if any. @param time gets its milliseconds, even if it fails */
export async function measured<Result>(
  spans: SpanGroup | null | undefined,
  time: (ms: number) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const startedAt = performance.now();
  try {
    return await (spans ? spans.during(work) : work());
  } finally {
    time(performance.now() - startedAt);
  }
}

/** For log lines of sampled orders. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent?.split('-')[1];
}
