/** A collector for tests: takes OTLP over HTTP as JSON, and keeps what it got. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AnyJson } from './any-json.ts';

export interface CollectedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it has no parent. */
  readonly parentSpanId: string;
  readonly name: string;
  /** ms since 1970. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Of a refusal or a fault. */
  readonly fault: string | undefined;
}

export interface OtlpCollector {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
  /** Requests that came, whatever was in them. */
  readonly requests: () => number;
  /** Everything that came, as text. */
  readonly texts: readonly string[];
  close(): Promise<void>;
}

const STATUS_ERROR = 2;

export async function startOtlpCollector(port = 0): Promise<OtlpCollector> {
  const spans: CollectedSpan[] = [];
  const texts: string[] = [];
  let requests = 0;
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => (text += chunk));
    request.on('end', () => {
      requests += 1;
      if (request.method !== 'POST' || request.url !== '/v1/traces') return void response.writeHead(404).end();
      texts.push(text);
      spans.push(...readSpans(JSON.parse(text)));
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    spans,
    texts,
    requests: () => requests,
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function readSpans({ resourceSpans }: AnyJson): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }: AnyJson) =>
    scopeSpans.flatMap(({ spans }: AnyJson) =>
      spans.map(
        (span: AnyJson): CollectedSpan => ({
          service: String(fieldsOf(resource)['service.name']),
          traceId: span.traceId,
          spanId: span.spanId,
          parentSpanId: span.parentSpanId ?? '',
          name: span.name,
          startedAt: Number(span.startTimeUnixNano) / 1e6,
          endedAt: Number(span.endTimeUnixNano) / 1e6,
          fields: fieldsOf(span),
          fault: span.status?.code === STATUS_ERROR ? span.status.message : undefined,
        }),
      ),
    ),
  );
}

function fieldsOf({ attributes }: AnyJson): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }: AnyJson) => [
      key,
      value.stringValue ?? Number(value.intValue ?? value.doubleValue),
    ]),
  );
}
