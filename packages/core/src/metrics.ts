/**
 * Numbers of one process for Prometheus, on a port of their own: whoever may read them need not reach the API, and the crowd never meets
 * them. Everything is counted in memory. No label has a value that a buyer could make up: a crowd of names would fill the memory.
 * docs/running/metrics.md lists them all.
 */
import { createServer, type Server } from 'node:http';
import { totalmem } from 'node:os';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { AwayPart } from './faults.ts';
import { BATCH_BOUNDS, METRICS_CONNECTIONS_MAX, METRICS_RECEIVE_MS, TIME_BOUNDS_S } from './limits.ts';
import { type SystemNumbers, systemMetrics } from './metrics/system-numbers.ts';
import {
  type Counts,
  createCounts,
  createDistribution,
  createTeller,
  type Distribution,
  type Teller,
} from './metrics/tables.ts';

/** accepted, replayed (the same key again) and unknown are the API's, confirmed and rejected the worker's. */
export type OrderOutcome = 'accepted' | 'replayed' | 'unknown' | 'confirmed' | 'rejected';

/**
 * Ways of a batch of orders. reserve: the gate decides. enqueue: from the first reply until the queue has them. confirm: the ledger commits.
 * settle: the gate follows. whole: from the reservation of the oldest order until then, by the clocks of Redis and of the worker.
 */
export type Stage = 'reserve' | 'enqueue' | 'confirm' | 'settle' | 'whole';

/** @param orders of the batch */
export type TimeBatch = (stage: Stage, ms: number, orders: number) => void;

const BREAKER_STATES = { closed: 0, half_open: 1, open: 2 } as const;

interface WatchedBreaker {
  readonly part: AwayPart;
  state(): keyof typeof BREAKER_STATES;
}

/** Of pg. */
interface WatchedPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
}

export interface Metrics {
  /** @param code of the table of problems, or of a connection that was closed */
  countRefusal(code: string): void;
  countOrder(outcome: OrderOutcome): void;
  /** @param word of the gate about one order. @param by the gate itself, or what this process remembered of it */
  countDecision(word: string, by: 'gate' | 'memory'): void;
  /** @param route as it was registered, never as it was asked for. @returns what is told of each answer: code of the problem, or class of the status */
  answersOf(route: string): (outcome: string, ms: number) => void;
  timeBatch: TimeBatch;
  watchBreaker(breaker: WatchedBreaker): void;
  watchPool(pool: WatchedPool): void;
  /** @param read is called once for each metric of each scrape, and must answer all of them with the same */
  watchSystem(read: () => Promise<SystemNumbers>): void;
  /** @param works whether this process, not another of its kind, does its work now */
  watchWork(works: () => boolean): void;
  /**
   * Answers GET /metrics from now on; and GET /ready, where somebody watches the work: 200 or 503. An API says that on its own port.
   *
   * @param port 0: any that is free
   * @throws where it cannot listen there
   */
  listen(address: { host: string; port: number }): Promise<{ readonly port: number; close(): void }>;
}

export function createMetrics(): Metrics {
  // Not the library's global one: several systems may live in one process, as in tests.
  const registry = new Registry();
  const teller = createTeller(registry);
  let works: (() => boolean) | null = null;
  return {
    ...countWords(teller),
    ...timeAnswers(teller),
    ...timeBatches(teller),
    ...watchParts(teller),
    watchSystem(read) {
      for (const { samples, ...described } of systemMetrics) teller.tell(described, async () => samples(await read()));
    },
    watchWork(watched) {
      works = watched;
    },
    async listen({ host, port }) {
      collectDefaultMetrics({ register: registry });
      const server = createServer({ headersTimeout: METRICS_RECEIVE_MS, requestTimeout: METRICS_RECEIVE_MS });
      server.maxConnections = METRICS_CONNECTIONS_MAX;
      server.on('request', (request, response) => {
        if (request.method === 'GET' && request.url === '/ready' && works !== null) {
          response.writeHead(works() ? 200 : 503).end();
          return;
        }
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

function countWords({ counter }: Teller): Pick<Metrics, 'countRefusal' | 'countOrder' | 'countDecision'> {
  const refusals = createCounts();
  counter('flash_sale_refusals_total', 'Requests that were refused, and connections that were closed, by code.', () =>
    refusals.samples('code'),
  );
  const orders = createCounts();
  counter(
    'flash_sale_orders_total',
    'Orders by what this process said of them: accepted, replayed, unknown (API); confirmed, rejected (worker).',
    () => orders.samples('outcome'),
  );
  const decisions = { gate: createCounts(), memory: createCounts() };
  counter(
    'flash_sale_decisions_total',
    'Orders by the word of the gate, and of the limits that stand in it: said by the gate, or from memory.',
    () => Object.entries(decisions).flatMap(([by, counts]) => counts.samples('word', { by })),
  );
  return {
    countRefusal: refusals.add,
    countOrder: orders.add,
    countDecision: (word, by) => decisions[by].add(word),
  };
}

function timeAnswers({ counter, histogram }: Teller): Pick<Metrics, 'answersOf'> {
  const routes = new Map<string, { outcomes: Counts; times: Distribution }>();
  counter(
    'flash_sale_requests_total',
    'Requests that were answered, by route and outcome: code of the problem, or class of the status.',
    () => [...routes].flatMap(([route, { outcomes }]) => outcomes.samples('outcome', { route })),
  );
  histogram('flash_sale_request_seconds', 'Seconds from a request until its answer was made, by route.', () =>
    Array.from(routes, ([route, { times }]) => ({ of: times, labels: { route } })),
  );
  return {
    answersOf(route) {
      const known = routes.get(route) ?? { outcomes: createCounts(), times: createDistribution(TIME_BOUNDS_S) };
      routes.set(route, known);
      const { outcomes, times } = known;
      return (outcome, ms) => {
        outcomes.add(outcome);
        times.add(ms / 1_000);
      };
    },
  };
}

function timeBatches({ histogram }: Teller): Pick<Metrics, 'timeBatch'> {
  const stages = new Map<Stage, { times: Distribution; sizes: Distribution }>();
  histogram('flash_sale_stage_seconds', 'Seconds that a batch of orders took, by stage.', () =>
    Array.from(stages, ([stage, { times }]) => ({ of: times, labels: { stage } })),
  );
  histogram('flash_sale_batch_orders', 'Orders of a batch, by stage.', () =>
    Array.from(stages, ([stage, { sizes }]) => ({ of: sizes, labels: { stage } })),
  );
  return {
    timeBatch(stage, ms, orders) {
      let known = stages.get(stage);
      if (!known) {
        known = { times: createDistribution(TIME_BOUNDS_S), sizes: createDistribution(BATCH_BOUNDS) };
        stages.set(stage, known);
      }
      known.times.add(ms / 1_000);
      known.sizes.add(orders);
    },
  };
}

function watchParts({ gauge }: Teller): Pick<Metrics, 'watchBreaker' | 'watchPool'> {
  const breakers: WatchedBreaker[] = [];
  gauge(
    'flash_sale_breaker_state',
    'Circuit breaker of this process: 0 closed, 1 half open, 2 open (calls to the part are refused at once).',
    () => breakers.map((breaker) => ({ labels: { part: breaker.part }, value: BREAKER_STATES[breaker.state()] })),
  );
  const pools: WatchedPool[] = [];
  gauge(
    'flash_sale_pool_connections',
    'Connections of this process to PostgreSQL: total, idle; and calls that wait for one: waiting.',
    () =>
      pools.flatMap(({ totalCount, idleCount, waitingCount }) => [
        { labels: { state: 'total' }, value: totalCount },
        { labels: { state: 'idle' }, value: idleCount },
        { labels: { state: 'waiting' }, value: waitingCount },
      ]),
  );
  gauge(
    'flash_sale_memory_limit_bytes',
    'Memory that this process may use: of its container, or of its machine.',
    () => [{ labels: {}, value: memoryLimit() }],
  );
  return {
    watchBreaker: (breaker) => void breakers.push(breaker),
    watchPool: (pool) => void pools.push(pool),
  };
}

/** @returns bytes. A container's bound, where there is one, is below the machine's memory. */
function memoryLimit(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
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
