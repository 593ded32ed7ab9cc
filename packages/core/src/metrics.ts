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
import { createCounts, createDistribution, type Distribution, expose } from './metrics/tables.ts';

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
  const refusals = createCounts();
  expose(
    registry,
    {
      name: 'flash_sale_refusals_total',
      help: 'Requests that were refused, and connections that were closed, by code.',
      type: 'counter',
    },
    () => refusals.samples('code'),
  );
  const orders = createCounts();
  expose(
    registry,
    {
      name: 'flash_sale_orders_total',
      help: 'Orders by what this process said of them: accepted, replayed, unknown (API); confirmed, rejected (worker).',
      type: 'counter',
    },
    () => orders.samples('outcome'),
  );
  const decisions = { gate: createCounts(), memory: createCounts() };
  expose(
    registry,
    {
      name: 'flash_sale_decisions_total',
      help: 'Orders by the word of the gate, and of the limits that stand in it: said by the gate, or from memory.',
      type: 'counter',
    },
    () => Object.entries(decisions).flatMap(([by, counts]) => counts.samples('word', { by })),
  );

  const routes = new Map<string, { outcomes: ReturnType<typeof createCounts>; times: Distribution }>();
  expose(
    registry,
    {
      name: 'flash_sale_requests_total',
      help: 'Requests that were answered, by route and outcome: code of the problem, or class of the status.',
      type: 'counter',
    },
    () => [...routes].flatMap(([route, { outcomes }]) => outcomes.samples('outcome', { route })),
  );
  const requestSeconds = 'flash_sale_request_seconds';
  expose(
    registry,
    { name: requestSeconds, help: 'Seconds from a request until its answer was made, by route.', type: 'histogram' },
    () => [...routes].flatMap(([route, { times }]) => times.samples(requestSeconds, { route })),
  );

  const stages = new Map<Stage, { times: Distribution; sizes: Distribution }>();
  const stageSeconds = 'flash_sale_stage_seconds';
  expose(
    registry,
    { name: stageSeconds, help: 'Seconds that a batch of orders took, by stage.', type: 'histogram' },
    () => [...stages].flatMap(([stage, { times }]) => times.samples(stageSeconds, { stage })),
  );
  const batchOrders = 'flash_sale_batch_orders';
  expose(registry, { name: batchOrders, help: 'Orders of a batch, by stage.', type: 'histogram' }, () =>
    [...stages].flatMap(([stage, { sizes }]) => sizes.samples(batchOrders, { stage })),
  );

  const breakers: WatchedBreaker[] = [];
  expose(
    registry,
    {
      name: 'flash_sale_breaker_state',
      help: 'Circuit breaker of this process: 0 closed, 1 half open, 2 open (calls to the part are refused at once).',
      type: 'gauge',
    },
    () => breakers.map((breaker) => ({ labels: { part: breaker.part }, value: BREAKER_STATES[breaker.state()] })),
  );
  const pools: WatchedPool[] = [];
  expose(
    registry,
    {
      name: 'flash_sale_pool_connections',
      help: 'Connections of this process to PostgreSQL: total, idle; and calls that wait for one: waiting.',
      type: 'gauge',
    },
    () =>
      pools.flatMap(({ totalCount, idleCount, waitingCount }) => [
        { labels: { state: 'total' }, value: totalCount },
        { labels: { state: 'idle' }, value: idleCount },
        { labels: { state: 'waiting' }, value: waitingCount },
      ]),
  );
  expose(
    registry,
    {
      name: 'flash_sale_memory_limit_bytes',
      help: 'Memory that this process may use: of its container, or of its machine.',
      type: 'gauge',
    },
    () => [{ labels: {}, value: memoryLimit() }],
  );

  return {
    countRefusal: refusals.add,
    countOrder: orders.add,
    countDecision: (word, by) => decisions[by].add(word),
    answersOf(route) {
      const { outcomes, times } = routes.get(route) ?? {
        outcomes: createCounts(),
        times: createDistribution(TIME_BOUNDS_S),
      };
      routes.set(route, { outcomes, times });
      return (outcome, ms) => {
        outcomes.add(outcome);
        times.add(ms / 1_000);
      };
    },
    timeBatch(stage, ms, size) {
      let known = stages.get(stage);
      if (!known) {
        known = { times: createDistribution(TIME_BOUNDS_S), sizes: createDistribution(BATCH_BOUNDS) };
        stages.set(stage, known);
      }
      known.times.add(ms / 1_000);
      known.sizes.add(size);
    },
    watchBreaker: (breaker) => void breakers.push(breaker),
    watchPool: (pool) => void pools.push(pool),
    watchSystem(read) {
      for (const { samples, ...described } of systemMetrics)
        expose(registry, described, async () => samples(await read()));
    },
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
