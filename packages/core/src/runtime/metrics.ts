/**
 * Numbers of one process for Prometheus, on a port of their own: whoever may read them need not reach the API, and the crowd never meets
 * them. Everything is counted in memory. No label has a value that a buyer could make up: a crowd of names would fill the memory.
 * docs/reference.md lists them all.
 */
import { createServer, type Server } from 'node:http';
import { getHeapStatistics } from 'node:v8';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { BATCH_BOUNDS, METRICS_CONNECTIONS_MAX, METRICS_RECEIVE_MS, TIME_BOUNDS_S } from '../config/limits.ts';
import { reserveWords } from '../inventory/outcomes.ts';
import type { Dependency } from './errors.ts';
import { memoryLimit } from './memory-limit.ts';
import {
  type Counts,
  createCounts,
  createDistribution,
  createTeller,
  type Distribution,
  type Labels,
  type Teller,
} from './metric-tables.ts';
import { type SystemNumbers, systemMetrics } from './system-metrics.ts';

/** accepted, replayed (the same key again) and unknown are the API's, confirmed and rejected the worker's. */
export type OrderOutcome = (typeof orderOutcomes)[number];
const orderOutcomes = ['accepted', 'replayed', 'unknown', 'confirmed', 'rejected'] as const;

/**
 * What an answer means to whoever waits for it. refused: by the rules, and mostly from memory. shed: this process had no room for it. fault:
 * it should have been answered, and was not.
 */
export type AnswerKind = (typeof answerKinds)[number];
const answerKinds = ['answered', 'refused', 'shed', 'fault'] as const;

/**
 * Ways of a batch of orders. reserve: the inventory decides. enqueue: from the first reply until the queue has them. confirm: the ledger commits.
 * commit: the inventory follows. whole: from the reservation of the oldest order until then, by the clocks of Redis and of the worker.
 */
export type Stage = 'reserve' | 'enqueue' | 'confirm' | 'commit' | 'whole';

/** @param orders of the batch */
export type TimeBatch = (stage: Stage, ms: number, orders: number) => void;

const BREAKER_STATES = { closed: 0, half_open: 1, open: 2 } as const;

interface WatchedBreaker {
  readonly dependency: Dependency;
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
  /** @param word of the inventory about one order. @param by the inventory itself, or what this process remembered of it */
  countDecision(word: string, by: 'inventory' | 'memory'): void;
  /** @param codes that refusals may have */
  expectRefusals(codes: readonly string[]): void;
  /** @param route as it was registered, never as it was asked for. @returns what is told of each answer: code of the problem, or class of the status */
  answersOf(route: string): (kind: AnswerKind, outcome: string, ms: number) => void;
  timeBatch: TimeBatch;
  watchBreaker(breaker: WatchedBreaker): void;
  watchPool(pool: WatchedPool): void;
  /** @param linesLost lines of the log that could not be written since the process began */
  watchLog(linesLost: () => number): void;
  /** @param read is called once for each metric of each scrape, and must answer all of them with the same */
  watchSystem(read: () => Promise<SystemNumbers>): void;
  /** @param works whether this process, not another of its kind, does its work now */
  watchWork(works: () => boolean): void;
  /**
   * Answers from now on GET /metrics, and, for a supervisor that has no other way to a worker, GET /health/live (200: its event loop turns)
   * and GET /health/ready (200 or 503: ready, and what `watchWork` was given says so). Neither of the two asks a part.
   *
   * @param port 0: any that is free
   * @param isReady whether the process does its work: started, and not told to stop
   * @throws where it cannot listen there
   */
  listen(address: {
    host: string;
    port: number;
    isReady?: () => boolean;
  }): Promise<{ readonly port: number; close(): void }>;
}

export function createMetrics(): Metrics {
  // Not the library's global one: several systems may live in one process, as in tests.
  const registry = new Registry();
  const teller = createTeller(registry);
  let works = (): boolean => true;
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
    async listen({ host, port, isReady = () => true }) {
      collectDefaultMetrics({ register: registry });
      const server = createServer({ headersTimeout: METRICS_RECEIVE_MS, requestTimeout: METRICS_RECEIVE_MS });
      server.maxConnections = METRICS_CONNECTIONS_MAX;
      server.on('request', (request, response) => {
        const path = request.method === 'GET' ? request.url : undefined;
        if (path === '/health/live') response.writeHead(200).end();
        else if (path === '/health/ready') response.writeHead(isReady() && works() ? 200 : 503).end();
        else if (path !== '/metrics') response.writeHead(404).end();
        else
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

function countWords({
  counter,
}: Teller): Pick<Metrics, 'expectRefusals' | 'countRefusal' | 'countOrder' | 'countDecision'> {
  const refusals = createCounts();
  counter('flash_sale_refusals_total', 'Requests that were refused, and connections that were closed, by code.', () =>
    refusals.samples('code'),
  );
  const orders = createCounts(orderOutcomes);
  counter(
    'flash_sale_orders_total',
    'Orders by what this process said of them: accepted, replayed, unknown (API); confirmed, rejected (worker).',
    () => orders.samples('outcome'),
  );
  const decisions = { inventory: createCounts(reserveWords), memory: createCounts(reserveWords) };
  counter(
    'flash_sale_decisions_total',
    'Orders by the word of the inventory, and of the limits that stand in it: said by the inventory, or from memory.',
    () => Object.entries(decisions).flatMap(([by, counts]) => counts.samples('word', { by })),
  );
  return {
    expectRefusals: refusals.expect,
    countRefusal: refusals.add,
    countOrder: orders.add,
    countDecision: (word, by) => decisions[by].add(word),
  };
}

function timeAnswers({ counter, histogram }: Teller): Pick<Metrics, 'answersOf'> {
  const routes = new Map<string, AnswersByKind>();
  const each = <Told>(tell: (of: Answers, labels: Labels) => Told[]): Told[] =>
    [...routes].flatMap(([route, kinds]) => answerKinds.flatMap((kind) => tell(kinds[kind], { route, kind })));
  counter(
    'flash_sale_requests_total',
    'Requests that were answered, by route, kind and outcome: code of the problem, or class of the status.',
    () => each(({ outcomes }, labels) => outcomes.samples('outcome', labels)),
  );
  histogram('flash_sale_request_seconds', 'Seconds from a request until its answer was made, by route and kind.', () =>
    each(({ times }, labels) => [{ of: times, labels }]),
  );
  return {
    answersOf(route) {
      const known = routes.get(route) ?? answersByKind();
      routes.set(route, known);
      return (kind, outcome, ms) => {
        const { outcomes, times } = known[kind];
        outcomes.add(outcome);
        times.add(ms / 1_000);
      };
    },
  };
}

interface Answers {
  readonly outcomes: Counts;
  readonly times: Distribution;
}

type AnswersByKind = Readonly<Record<AnswerKind, Answers>>;

function answersByKind(): AnswersByKind {
  const answers = (words: readonly string[]): Answers => ({
    outcomes: createCounts(words),
    times: createDistribution(TIME_BOUNDS_S),
  });
  // A fault has many codes; that there are any is to be seen from the first one on.
  return {
    answered: answers(['2xx']),
    refused: answers([]),
    shed: answers(['OVERLOADED']),
    fault: answers(['INTERNAL']),
  };
}

function timeBatches({ histogram }: Teller): Pick<Metrics, 'timeBatch'> {
  const stages = new Map<Stage, { times: Distribution; sizes: Distribution }>();
  histogram(
    'flash_sale_stage_seconds',
    'Seconds that each order of a batch took, by stage, also where it failed.',
    () => Array.from(stages, ([stage, { times }]) => ({ of: times, labels: { stage } })),
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
      known.times.add(ms / 1_000, orders);
      known.sizes.add(orders);
    },
  };
}

function watchParts({ counter, gauge }: Teller): Pick<Metrics, 'watchBreaker' | 'watchPool' | 'watchLog'> {
  const breakers: WatchedBreaker[] = [];
  gauge(
    'flash_sale_breaker_state',
    'Circuit breaker of this process: 0 closed, 1 half open, 2 open (calls to the part are refused at once).',
    () => breakers.map((breaker) => ({ labels: { part: breaker.dependency }, value: BREAKER_STATES[breaker.state()] })),
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
  gauge(
    'flash_sale_heap_limit_bytes',
    'JavaScript objects that this process may hold: above it V8 ends the process.',
    () => [{ labels: {}, value: getHeapStatistics().heap_size_limit }],
  );
  let linesLost = (): number => 0;
  counter(
    'flash_sale_log_lines_lost_total',
    'Lines of the log that could not be written: orders among them are not found again after a loss of Redis.',
    () => [{ labels: {}, value: linesLost() }],
  );
  return {
    watchLog(read) {
      linesLost = read;
    },
    watchBreaker: (breaker) => void breakers.push(breaker),
    watchPool: (pool) => void pools.push(pool),
  };
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
