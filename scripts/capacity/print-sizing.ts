/** The sizing as a person reads it: each figure with how it comes about, and every assumption in words. */
import type { Constants } from './constants.ts';
import type { Bound, Drop, Sizing } from './size-drop.ts';

/** Name of a constant → a file, an option, or that nobody measured it. */
export type Sources = Readonly<Record<keyof Constants, string>>;

/** @param sources where each of the constants comes from */
export function printSizing(drop: Drop, constants: Constants, sizing: Sizing, sources: Sources): string {
  const sections = [
    crowdLines(drop, sizing),
    partLines(drop, constants, sizing),
    keptLines(drop, sizing),
    endLines(sizing),
    [
      'Constants',
      ...(Object.entries(constants) as [keyof Constants, number][]).map(([name, value]) =>
        row(name, number(value), sources[name]),
      ),
    ],
    ['Assumptions', ...assumptions(drop, constants, sizing).map((sentence) => `  - ${sentence}`)],
  ];
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function crowdLines({ buyers, requestsPerBuyer, seconds, sales, headroom }: Drop, { crowd, redis }: Sizing): string[] {
  const times = sales > 1 ? ` × ${number(sales)} sales` : '';
  return [
    'The crowd',
    row('requests', number(crowd.requests), `${number(buyers)} buyers × ${number(requestsPerBuyer)}${times}`),
    row('requests/s at the peak', number(crowd.requestsPerSecond), `within ${number(seconds)} s`),
    row(
      'accepted/s in the worst second',
      number(crowd.acceptedPerSecond),
      `refused: ${number(crowd.refusedPerSecond)}/s`,
    ),
    row('accepted in all', number(crowd.accepted), `refused: ${number(crowd.refused)}`),
    row(
      'most that one sale can take',
      `${number(redis.mostPerSecond)}/s`,
      `its Redis node, ${percent(headroom)} left free`,
    ),
  ];
}

function partLines(drop: Drop, constants: Constants, { api, redis, ledger }: Sizing): string[] {
  const decides = api.processesByCpu >= api.processesByConnections ? 'CPU decides' : 'connections decide';
  return [
    'Parts',
    row(
      'API processes',
      number(api.processes),
      `${number(api.processesByCpu)} by CPU (${number(api.cores)} cores of work), ${number(api.processesByConnections)} by connections: ${decides}`,
    ),
    row('API machines', number(api.machines), `${number(drop.coresPerMachine)} cores each, by CPU`),
    row('connections', number(api.connections), `${number(drop.maxConnections)} a process (MAX_CONNECTIONS)`),
    row(
      'Redis nodes',
      number(redis.nodes),
      `a sale takes ${percent(redis.loadOfSale)} of its node in the worst second`,
    ),
    row('worker processes', number(ledger.workers), `all orders within ${number(drop.ledgerWithin)} s`),
    row(
      'PostgreSQL cores',
      number(ledger.postgresCores),
      `one sale: ${number(ledger.mostPerSecond)} orders/s at most, ${number(constants.postgres_us_per_order)} µs each`,
    ),
  ];
}

function keptLines(drop: Drop, { redis, ledger, network }: Sizing): string[] {
  const parts = `orders ${megabytes(redis.liveBytes)}, buyers ${megabytes(redis.heldBytes)}, buckets ${megabytes(redis.bucketBytes)}`;
  return [
    'What is kept and sent',
    row('Redis memory', megabytes(redis.bytes), `${parts}; of ${number(drop.sales)} sale${drop.sales > 1 ? 's' : ''}`),
    row('append-only file', megabytes(redis.aofBytes)),
    row('ledger', megabytes(ledger.bytes)),
    row('network, to the API', megabits(network.inBytesPerSecond), `replies: ${megabits(network.outBytesPerSecond)}`),
    row('network, to and from Redis', megabits(network.redisBytesPerSecond), 'for orders'),
  ];
}

const NAMES: Record<Bound, string> = {
  crowd: 'the crowd itself',
  limit: 'GLOBAL_RATE_LIMIT',
  Redis: "the sale's Redis node",
  PostgreSQL: "the sale's row in PostgreSQL",
};

function endLines({ lastAcceptedAfter, lastInLedgerAfter, ledger, secondsOf, bottleneck }: Sizing): string[] {
  return [
    'Time, from the first request on',
    row('the last unit is promised', time(lastAcceptedAfter)),
    row('the last order is in the ledger', time(lastInLedgerAfter), `workers need ${time(ledger.workerSeconds)}`),
    ...(Object.entries(secondsOf) as [Bound, number][]).map(([bound, seconds]) =>
      row(`  ${NAMES[bound]}`, seconds === 0 ? 'none' : time(seconds), bound === bottleneck ? 'the bottleneck' : ''),
    ),
  ];
}

function assumptions(drop: Drop, constants: Constants, { crowd }: Sizing): string[] {
  const refusals =
    drop.throughRedis === 0
      ? `Every refusal is answered by the API alone, for ${number(constants.api_us_per_refusal)} µs. Where some ask Redis, say how many: --refusals-through-redis 0.1.`
      : `${percent(drop.throughRedis)} of the refusals ask Redis; the others are answered by the API alone.`;
  const limit =
    drop.rateLimit === 0
      ? `There is no limit for the whole system: GLOBAL_RATE_LIMIT is 0, or at least ${number(Math.ceil(crowd.acceptedPerSecond))}. Its default is 2,000.`
      : `The whole system lets ${number(drop.rateLimit)} orders a second through to the stock.`;
  return [
    'Requests come evenly over the whole time. Where most come in the first second, say --seconds 1.',
    'An order is for one unit, and all units are asked for. The orders that get them come first: the worst second is the first one.',
    refusals,
    limit,
    `${percent(drop.headroom)} of every core is left free. CPU of an order is the same for one and for many at a time, as measured on one machine; other processors differ.`,
    'An API process, a worker and a Redis node use one core each. Whatever balances the crowd over the API processes does so evenly, and is not counted here.',
    'A connection for each buyer stays open for the whole time, unless --connections says otherwise; a gateway in front that keeps few connections open makes it few. Memory of the API processes is not counted.',
    'Redis memory is what all accepted orders would take if none were in the ledger yet: the most that there can be. Keys of orders sent with an Idempotency-Key are not in it.',
    'Workers are as many as do all orders in the given time. On its way to a worker an order waits up to 0.1 s more.',
    'More than one Redis node means a Redis Cluster (docs/running.md#redis-cluster): sales lie on its nodes by their ids, not evenly of themselves.',
    'The append-only file is not rewritten meanwhile, and the ledger has no replica.',
  ];
}

function row(name: string, value: string, how = ''): string {
  return `  ${name.padEnd(34)}${value.padStart(12)}${how === '' ? '' : `   ${how}`}`;
}

/** Three digits are enough below 100, whole numbers above. */
function number(value: number): string {
  if (!Number.isFinite(value)) return 'no bound';
  return value.toLocaleString('en-US', { maximumFractionDigits: value >= 100 ? 0 : 2 });
}

const percent = (part: number): string => `${number(part * 100)} %`;
const megabytes = (bytes: number): string => `${number(bytes / 1e6)} MB`;
const megabits = (bytesPerSecond: number): string => `${number((bytesPerSecond * 8) / 1e6)} Mbit/s`;
const time = (seconds: number): string => (seconds < 0.1 ? `${number(seconds * 1_000)} ms` : `${number(seconds)} s`);
