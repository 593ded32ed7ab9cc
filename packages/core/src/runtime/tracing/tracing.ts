/**
 * One trace of an order, from the HTTP request to the ledger: what those on its way tell of it. The library that sends it is known to
 * open-tracing.ts alone, which is loaded only where tracing is on. Whoever is not traced has null here, and that is all it costs.
 */

/** Who works while the span lasts, as OpenTelemetry calls it. */
export type SpanKind = 'server' | 'client' | 'producer' | 'consumer' | 'internal';

export type SpanFields = Readonly<Record<string, string | number>>;

/** A part of one sampled order's way, from `begin` to `end`. Nothing here throws or waits. */
export interface TraceSpan {
  /** W3C traceparent: what is begun by its reader is a part of this span. */
  readonly traceparent: string;
  begin(kind: SpanKind, name: string, fields?: SpanFields): TraceSpan;
  note(fields: SpanFields): void;
  /** It is a refusal or a fault. @param why code or sentence */
  fail(why: string): void;
  end(): void;
}

export interface Tracing {
  /**
   * A request arrived.
   *
   * @param traceparent header as the client sent it, which may be anything
   * @returns null where it is not sampled
   */
  receive(name: string, traceparent: unknown, fields: SpanFields): TraceSpan | null;
  /** Goes on with what another process began. @param traceparent of a span of ours */
  resume(traceparent: string, kind: SpanKind, name: string, fields: SpanFields): TraceSpan;
  /** Sends what has ended. Resolves within the bound whether it was sent or not. @param boundMs milliseconds */
  close(boundMs: number): Promise<void>;
}

/** Spans of those orders of a batch that are sampled: the batch is worked on once, and each of their traces tells of it. */
export class SpanGroup {
  readonly #spans: ReadonlyMap<string, TraceSpan>;

  /** @param spans by order id, at least one */
  constructor(spans: ReadonlyMap<string, TraceSpan>) {
    this.#spans = spans;
  }

  begin(kind: SpanKind, name: string, fields?: SpanFields): SpanGroup {
    return new SpanGroup(new Map(Array.from(this.#spans, ([id, span]) => [id, span.begin(kind, name, fields)])));
  }

  /** Where one order of the batch ended otherwise than the others. */
  failOne(orderId: string, why: string): void {
    this.#spans.get(orderId)?.fail(why);
  }

  /** Lasts as long as the work does, and has failed where the work has. */
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

/** Works, and tells of it where anybody is sampled. */
export function within<Result>(
  spans: SpanGroup | null,
  part: { kind: SpanKind; name: string; fields?: SpanFields },
  work: () => Promise<Result>,
): Promise<Result> {
  return spans === null ? work() : spans.begin(part.kind, part.name, part.fields).during(work);
}

/** For the lines of sampled orders. */
export function traceIdOf(traceparent: string | undefined): string | undefined {
  return traceparent?.split('-')[1];
}
