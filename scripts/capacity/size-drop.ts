/**
 * How much of each part a drop needs: arithmetic on what one order and one refusal cost. It knows no file and no process.
 *   1. The crowd: requests a second; how many of them, in the worst second, are orders and how many are refusals.
 *   2. The API: CPU of that second, and connections; the larger one says how many processes.
 *   3. Redis: a sale lives on one node, and a node does one thing at a time. That is the most that one sale can take.
 *   4. Workers and PostgreSQL: all orders have to be in the ledger in time; batches of one sale wait for each other at its row.
 *   5. What is kept and sent: bytes for each order.
 *   6. The bottleneck: what takes longest for the orders of one sale, and would not be faster with another machine.
 */
import type { Constants } from './constants.ts';

/** What is asked. Buyers, units and connections are those of one sale; an order takes one unit. */
export interface Drop {
  readonly buyers: number;
  readonly units: number;
  /** In which the crowd's requests come, evenly; from 1. */
  readonly seconds: number;
  readonly requestsPerBuyer: number;
  /** Sales that begin at the same moment, each with a crowd of its own. */
  readonly sales: number;
  /** GLOBAL_RATE_LIMIT: orders a second that the system lets through to the stock; 0 = no limit. */
  readonly rateLimit: number;
  /** Part of the refusals, 0 to 1, that ask Redis; the API answers the others from its memory. */
  readonly throughRedis: number;
  /** Open at the same time. */
  readonly connections: number;
  /** MAX_CONNECTIONS of one API process. */
  readonly maxConnections: number;
  readonly coresPerMachine: number;
  /** Part of each core, from 0, below 1, that is left free. */
  readonly headroom: number;
  /** Seconds in which workers and PostgreSQL are to do their work. */
  readonly ledgerWithin: number;
}

/** What can be in the way of one sale's orders, whatever is added: its crowd, the system's limit, its node, its row in the ledger. */
export type Bound = 'crowd' | 'limit' | 'Redis' | 'PostgreSQL';

export type Sizing = ReturnType<typeof sizeDrop>;

const MILLION = 1_000_000;

export function sizeDrop(drop: Drop, constants: Constants) {
  const crowd = sizeCrowd(drop, constants);
  const api = sizeApi(drop, constants, crowd);
  const redis = sizeRedis(drop, constants, crowd);
  const ledger = sizeLedger(drop, constants, crowd);
  const secondsOf: Record<Bound, number> = {
    crowd: crowd.acceptedOfSale / (crowd.requestsPerSecond / drop.sales),
    limit: drop.rateLimit === 0 ? 0 : crowd.accepted / drop.rateLimit,
    Redis: redis.secondsOfSale,
    PostgreSQL: ledger.postgresSeconds,
  };
  const lastAcceptedAfter = Math.max(secondsOf.crowd, secondsOf.limit, crowd.acceptedOfSale / redis.mostPerSecond);
  return {
    crowd,
    api,
    redis,
    ledger,
    network: {
      inBytesPerSecond: crowd.requestsPerSecond * constants.request_bytes,
      outBytesPerSecond: crowd.requestsPerSecond * constants.reply_bytes,
      redisBytesPerSecond: crowd.acceptedPerSecond * constants.redis_network_bytes_per_order,
    },
    /** Seconds from the first request on. */
    lastAcceptedAfter,
    lastInLedgerAfter: Math.max(lastAcceptedAfter, ledger.workerSeconds, ledger.postgresSeconds),
    /** For the orders of one sale, each as if nothing else took time. */
    secondsOf,
    bottleneck: (Object.keys(secondsOf) as Bound[]).reduce((most, bound) =>
      secondsOf[bound] > secondsOf[most] ? bound : most,
    ),
  };
}

type Crowd = ReturnType<typeof sizeCrowd>;

/** The worst second is the first one: all orders that are accepted come before the refusals, which are cheaper. */
function sizeCrowd(drop: Drop, { redis_us_per_order }: Constants) {
  const { sales } = drop;
  const requestsOfSale = drop.buyers * drop.requestsPerBuyer;
  const acceptedOfSale = Math.min(drop.units, requestsOfSale);
  const requestsPerSecond = (requestsOfSale * sales) / drop.seconds;
  const mostOfSale = perSecond(1 - drop.headroom, redis_us_per_order);
  const limitOfSale = drop.rateLimit === 0 ? Number.POSITIVE_INFINITY : drop.rateLimit / sales;
  const acceptedPerSecond = sales * Math.min(acceptedOfSale, requestsPerSecond / sales, limitOfSale, mostOfSale);
  return {
    requests: requestsOfSale * sales,
    requestsPerSecond,
    acceptedOfSale,
    accepted: acceptedOfSale * sales,
    refused: (requestsOfSale - acceptedOfSale) * sales,
    /** In the worst second, of all sales. */
    acceptedPerSecond,
    refusedPerSecond: requestsPerSecond - acceptedPerSecond,
  };
}

function sizeApi(drop: Drop, constants: Constants, { acceptedPerSecond, refusedPerSecond }: Crowd) {
  const usPerRefusal =
    constants.api_us_per_refusal * (1 - drop.throughRedis) +
    constants.api_us_per_refusal_through_redis * drop.throughRedis;
  /** CPU seconds a second, without headroom. */
  const cores = (acceptedPerSecond * constants.api_us_per_order + refusedPerSecond * usPerRefusal) / MILLION;
  const connections = drop.connections * drop.sales;
  const processesByCpu = atLeastOne(cores / (1 - drop.headroom));
  const processesByConnections = atLeastOne(connections / drop.maxConnections);
  const processes = Math.max(processesByCpu, processesByConnections);
  // One that mostly holds connections takes no core of its own.
  const machines = atLeastOne(processesByCpu / drop.coresPerMachine);
  return { cores, connections, processesByCpu, processesByConnections, processes, machines };
}

function sizeRedis(drop: Drop, constants: Constants, crowd: Crowd) {
  const { sales } = drop;
  const usable = 1 - drop.headroom;
  const asking = crowd.refused * drop.throughRedis;
  const usOfSale =
    crowd.acceptedOfSale * constants.redis_us_per_order + (asking / sales) * constants.redis_us_per_refusal;
  /** Part of a core that a sale takes of its node in the worst second. */
  const loadOfSale =
    (crowd.acceptedPerSecond * constants.redis_us_per_order +
      crowd.refusedPerSecond * drop.throughRedis * constants.redis_us_per_refusal) /
    MILLION /
    sales;
  const salesPerNode = loadOfSale === 0 ? sales : Math.max(1, Math.floor(usable / loadOfSale + 1e-9));
  const liveBytes = crowd.accepted * constants.redis_bytes_per_live_order;
  const heldBytes = crowd.accepted * constants.redis_bytes_per_held_buyer;
  const bucketBytes = Math.min(drop.buyers * sales, crowd.accepted + asking) * constants.redis_bytes_per_bucket;
  return {
    mostPerSecond: perSecond(usable, constants.redis_us_per_order),
    secondsOfSale: usOfSale / MILLION / usable,
    loadOfSale,
    nodes: atLeastOne(sales / salesPerNode),
    liveBytes,
    heldBytes,
    bucketBytes,
    bytes: liveBytes + heldBytes + bucketBytes,
    aofBytes: crowd.accepted * constants.aof_bytes_per_order,
  };
}

function sizeLedger(drop: Drop, constants: Constants, { accepted, acceptedOfSale }: Crowd) {
  const usable = 1 - drop.headroom;
  const workerCores = (accepted * constants.worker_us_per_order) / MILLION / usable;
  const postgresCores = (accepted * constants.postgres_us_per_order) / MILLION / usable;
  const workers = atLeastOne(workerCores / drop.ledgerWithin);
  // A sale's batches wait for each other: it never has more than one core.
  const cores = Math.min(drop.sales, atLeastOne(postgresCores / drop.ledgerWithin));
  return {
    workers,
    workerSeconds: workerCores / workers,
    postgresCores: cores,
    postgresSeconds: Math.max(
      postgresCores / cores,
      (acceptedOfSale * constants.postgres_us_per_order) / MILLION / usable,
    ),
    mostPerSecond: perSecond(usable, constants.postgres_us_per_order),
    bytes: accepted * constants.ledger_bytes_per_order,
  };
}

/** @param us of CPU for each; what costs nothing has no bound */
function perSecond(cores: number, us: number): number {
  return us === 0 ? Number.POSITIVE_INFINITY : (cores * MILLION) / us;
}

/** Whole ones; a rounding error is not a process more. */
function atLeastOne(wanted: number): number {
  return Math.max(1, Math.ceil(wanted - 1e-9));
}
