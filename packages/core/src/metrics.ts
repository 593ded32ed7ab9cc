/**
 * Numbers of one process for Prometheus, on a port of their own: whoever may read them need not reach the API, and the crowd never meets
 * them. Everything is counted in memory. No label has a value that a buyer could make up: a crowd of names would fill the memory.
 */
import { createServer, type Server } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { AwayPart } from './faults.ts';
import { METRICS_CONNECTIONS_MAX, METRICS_RECEIVE_MS } from './limits.ts';

/** accepted, replayed (the same key again) and unknown are the API's, confirmed and rejected the worker's. */
export type OrderOutcome = 'accepted' | 'replayed' | 'unknown' | 'confirmed' | 'rejected';

const BREAKER_STATES = { closed: 0, half_open: 1, open: 2 } as const;

interface WatchedBreaker {
  readonly part: AwayPart;
  state(): keyof typeof BREAKER_STATES;
}

export interface Metrics {
  /** @param code of the table of problems, or of a connection that was closed */
  countRefusal(code: string): void;
  countOrder(outcome: OrderOutcome): void;
  watchBreaker(breaker: WatchedBreaker): void;
  /**
   * Answers GET /metrics from now on.
   *
   * @param port 0: any that is free
   * @throws where it cannot listen there
   */
  listen(address: { host: string; port: number }): Promise<{ readonly port: number; close(): void }>;
}

export function createMetrics(): Metrics {
  // Not the library's global one: several systems may live in one process, as in tests.
  const registry = new Registry();
  const registers = [registry];
  const countRefusal = countedBy(registers, {
    name: 'flash_sale_refusals_total',
    help: 'Requests that were refused, and connections that were closed, by code.',
    label: 'code',
  });
  const countOrder = countedBy(registers, {
    name: 'flash_sale_orders_total',
    help: 'Orders by what this process said of them: accepted, replayed, unknown (API); confirmed, rejected (worker).',
    label: 'outcome',
  });
  const breakers: WatchedBreaker[] = [];
  new Gauge({
    name: 'flash_sale_breaker_state',
    help: 'Circuit breaker of this process: 0 closed, 1 half open, 2 open (calls to the part are refused at once).',
    labelNames: ['part'],
    registers,
    collect() {
      for (const breaker of breakers) this.set({ part: breaker.part }, BREAKER_STATES[breaker.state()]);
    },
  });

  return {
    countRefusal,
    countOrder,
    watchBreaker: (breaker) => void breakers.push(breaker),
    async listen({ host, port }) {
      collectDefaultMetrics({ register: registry });
      const server = createServer({ headersTimeout: METRICS_RECEIVE_MS, requestTimeout: METRICS_RECEIVE_MS });
      server.maxConnections = METRICS_CONNECTIONS_MAX;
      server.on('request', (request, response) => {
        if (request.method !== 'GET' || request.url !== '/metrics') {
          response.writeHead(404).end();
          return;
        }
        registry.metrics().then(
          (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
          () => response.writeHead(500).end(),
        );
      });
      await listening(server, host, port);
      return {
        port: (server.address() as { port: number }).port,
        close() {
          server.close();
          server.closeAllConnections();
        },
      };
    },
  };
}

/** Counts in a table of its own, which the library reads when it is asked: its own counting costs more than a refusal does. */
function countedBy(
  registers: Registry[],
  { name, help, label }: { name: string; help: string; label: string },
): (value: string) => void {
  const counts = new Map<string, number>();
  new Counter({
    name,
    help,
    labelNames: [label],
    registers,
    collect() {
      this.reset();
      for (const [value, count] of counts) this.inc({ [label]: value }, count);
    },
  });
  return (value) => void counts.set(value, (counts.get(value) ?? 0) + 1);
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
