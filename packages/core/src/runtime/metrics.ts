/**
 * Prometheus metrics of one process, served on a port that buyers never reach. docs/reference.md
 * lists them. No label takes a value that a buyer can choose: each new value costs memory.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { getHeapStatistics } from 'node:v8';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Dependency } from './errors.ts';
import { createHistogram } from './histogram.ts';
import { memoryLimit } from './memory-limit.ts';

/**
 * accepted, replayed (an idempotency key sent again) and unknown: by the API. confirmed and
 * rejected: by the worker.
 */
const orderOutcomes = ['accepted', 'replayed', 'unknown', 'confirmed', 'rejected'] as const;
export type OrderOutcome = (typeof orderOutcomes)[number];

/**
 * refused: by a rule of the sale or a limit. shed: by an overloaded process. fault: it should have
 * been answered.
 */
const answerKinds = ['answered', 'refused', 'shed', 'fault'] as const;
export type AnswerKind = (typeof answerKinds)[number];

/**
 * Stages of a batch of orders. reserve: the inventory decides. enqueue: the add to the queue.
 * confirm: the ledger's transaction. commit: confirmed orders in the inventory. end_to_end: from
 * the oldest reservation to the commit, by the clocks of Redis and the worker.
 */
export type Stage = 'reserve' | 'enqueue' | 'confirm' | 'commit' | 'end_to_end';

/** @param orders in the batch */
export type TimeBatch = (stage: Stage, ms: number, orders: number) => void;

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * Seconds, from a refusal out of memory to an order that waited for the ledger. 0.2 s is what
 * buyers are promised.
 */
const DURATION_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60];
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1_000, 2_000];

/** Connections to the metrics port: a few scrapers, one each. */
const CONNECTIONS_MAX = 16;
/** Milliseconds that a scraper has to send its request. */
const RECEIVE_MS = 5_000;

const BREAKER_STATES = { closed: 0, half_open: 1, open: 2 } as const;

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  // A registry of its own: tests run several systems in one process.
  const registry = new Registry();
  const registers = [registry];
  const requests = createHistogram({
    name: 'flash_sale_request_duration_seconds',
    help: 'Time from a request to its answer, by route and kind of answer.',
    buckets: DURATION_BUCKETS,
    registry,
  });
  const stages = new Histogram({
    name: 'flash_sale_stage_duration_seconds',
    help: 'Time of a batch of orders in each stage, failed ones included.',
    labelNames: ['stage'],
    buckets: DURATION_BUCKETS,
    registers,
  });
  const batches = new Histogram({
    name: 'flash_sale_batch_orders',
    help: 'Orders per batch, by stage.',
    labelNames: ['stage'],
    buckets: BATCH_BUCKETS,
    registers,
  });
  /** A metric whose samples are read at each scrape. */
  const readAtScrape =
    (Metric: typeof Gauge | typeof Counter) =>
    (
      name: string,
      help: string,
      labelNames: readonly string[],
      read: () => readonly Sample[] | Promise<readonly Sample[]>,
    ): void => {
      new Metric({
        name,
        help,
        labelNames,
        registers,
        async collect() {
          const samples = await read();
          this.reset();
          // reset() sets a metric without labels to 0; without a sample it must be absent.
          if (labelNames.length === 0) this.remove();
          for (const { labels = {}, value } of samples) this.inc(labels, value);
        },
      });
    };
  const gauge = readAtScrape(Gauge);
  const counter = readAtScrape(Counter);

  // Counted in plain objects: Counter.inc() hashes its labels at every call, which costs 0.3 µs.
  // Prometheus misses the increase of a series that first appears non-zero, so the known series
  // start at 0.
  const refusals: Counts = {};
  const orders: Counts = {};
  expect(orders, orderOutcomes);
  const decisions: Record<'inventory' | 'cache', Counts> = { inventory: {}, cache: {} };
  counter(
    'flash_sale_refusals_total',
    'Requests answered with a problem, by its code, and connections closed without an answer.',
    ['code'],
    () => samplesBy('code', refusals),
  );
  counter(
    'flash_sale_orders_total',
    'Orders by outcome: accepted, replayed, unknown (API); confirmed, rejected (worker).',
    ['outcome'],
    () => samplesBy('outcome', orders),
  );
  counter(
    'flash_sale_decisions_total',
    'Decisions about orders, by outcome and source: the inventory, or the refusal cache of this process.',
    ['outcome', 'source'],
    () => Object.entries(decisions).flatMap(([source, counts]) => samplesBy('outcome', counts, { source })),
  );

  const breakers: { readonly dependency: Dependency; state(): keyof typeof BREAKER_STATES }[] = [];
  gauge(
    'flash_sale_breaker_state',
    'Circuit breaker of this process: 0 closed, 1 half open, 2 open (calls fail at once).',
    ['dependency'],
    () => breakers.map((one) => ({ labels: { dependency: one.dependency }, value: BREAKER_STATES[one.state()] })),
  );
  gauge('flash_sale_memory_limit_bytes', 'Memory that this process may use: of its container, or machine.', [], () => [
    { value: memoryLimit() },
  ]);
  gauge('flash_sale_heap_limit_bytes', 'Heap that V8 allows this process.', [], () => [
    { value: getHeapStatistics().heap_size_limit },
  ]);

  let isRehearsing = false;
  /** Whether this process does its work now. */
  let works = (): boolean => true;

  return {
    gauge,
    counter,
    /** @param code of a problem, or of a closed connection */
    countRefusal: (code: string): void => countOne(refusals, code),
    /** @param codes that refusals may have */
    expectRefusals: (codes: readonly string[]): void => expect(refusals, codes),
    /** @param kinds that decisions may have */
    expectDecisions(kinds: readonly string[]): void {
      for (const counts of Object.values(decisions)) expect(counts, kinds);
    },
    countOrder: (outcome: OrderOutcome): void => countOne(orders, outcome),
    countDecision: (outcome: string, source: keyof typeof decisions): void => countOne(decisions[source], outcome),
    /** @param route as registered, never a requested path */
    timeRequests(route: string): (kind: AnswerKind, ms: number) => void {
      const observe = Object.fromEntries(answerKinds.map((kind) => [kind, requests({ route, kind })]));
      return (kind, ms) => observe[kind]?.(ms / 1_000);
    },
    timeBatch(stage: Stage, ms: number, size: number): void {
      stages.observe({ stage }, ms / 1_000);
      batches.observe({ stage }, size);
    },
    watchBreaker: (breaker: (typeof breakers)[number]): void => void breakers.push(breaker),
    watchPool(pool: { readonly totalCount: number; readonly idleCount: number; readonly waitingCount: number }): void {
      gauge(
        'flash_sale_pool_connections',
        'PostgreSQL connections of this process: total, idle; and calls waiting for one: waiting.',
        ['state'],
        () => samplesBy('state', { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
      );
    },
    /** @param linesLost since the process started */
    watchLog(linesLost: () => number): void {
      counter(
        'flash_sale_log_lines_lost_total',
        'Log lines that could not be written; accepted orders among them cannot be recovered if Redis is lost.',
        [],
        () => [{ value: linesLost() }],
      );
    },
    /** Until the returned function is called, GET /metrics is 503; then all counts start at 0. */
    startRehearsal(): () => void {
      isRehearsing = true;
      return () => {
        for (const counts of [refusals, orders, ...Object.values(decisions)])
          for (const name of Object.keys(counts)) counts[name] = 0;
        registry.resetMetrics();
        isRehearsing = false;
      };
    },
    watchWork(watched: () => boolean): void {
      works = watched;
    },
    /**
     * Serves GET /metrics, GET /health/live (200 while the event loop turns) and GET /health/ready
     * (200 or 503). Neither health path asks a dependency.
     *
     * @param port 0: any free one
     * @param isReady started, and not stopping
     * @throws when it cannot listen there
     */
    async listen({ host, port, isReady = () => true }: { host: string; port: number; isReady?: () => boolean }) {
      collectDefaultMetrics({ register: registry });
      const server = createServer({ headersTimeout: RECEIVE_MS, requestTimeout: RECEIVE_MS });
      server.maxConnections = CONNECTIONS_MAX;
      server.on('request', async (request, response) => {
        const path = request.method === 'GET' ? request.url : undefined;
        if (path === '/health/live') response.writeHead(200).end();
        else if (path === '/health/ready') response.writeHead(isReady() && works() ? 200 : 503).end();
        else if (path !== '/metrics') response.writeHead(404).end();
        else if (isRehearsing) response.writeHead(503).end();
        else
          await registry.metrics().then(
            (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
            () => response.writeHead(500).end(),
          );
      });
      await once(server.listen(port, host), 'listening');
      return {
        port: (server.address() as { port: number }).port,
        close(): void {
          server.close();
          server.closeAllConnections();
        },
      };
    },
  };
}

type Counts = Record<string, number>;

/** Series that are known before their first count. */
function expect(counts: Counts, names: readonly string[]): void {
  for (const name of names) counts[name] ??= 0;
}

function countOne(counts: Counts, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

/** A sample for each count, with its name as the label. */
export function samplesBy(label: string, counts: Readonly<Counts>, others: Sample['labels'] = {}): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { ...others, [label]: name }, value }));
}
