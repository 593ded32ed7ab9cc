/** The queue between inventory and ledger: a job carries accepted orders of one sale. */
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { Queue } from 'bullmq';
import { MAX_QUANTITY } from '../config/limits.ts';
import { newUlid, type OrderBatch } from '../domain/order.ts';
import { failpoint } from '../runtime/failpoints.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

/** Orders per job: one transaction of some milliseconds, small enough to retry row by row. */
export const JOB_ORDERS_MAX = 1_000;

/** Attempts of a job before its orders are rejected; the last one starts 15 s after the first. */
export const CONFIRM_ATTEMPTS = 5;

/** Milliseconds before the second attempt, doubled for each further one. */
const CONFIRM_BACKOFF_MS = 1_000;

/** Milliseconds: longer than any delay of a job. */
const DELAY_MAX_MS = 15_000;

/** BullMQ orders delayed jobs by the ms since 1970 at which they are due, times this. */
const SCORES_PER_MS = 0x1000;

/** Completed jobs kept for the queue board: 18 MB of Redis at most. The ledger is the record. */
const KEEP_COMPLETED_JOBS = 200;

/** Failed jobs kept for the queue board: 45 MB of Redis at most. */
const KEEP_FAILED_JOBS = 500;

export const ORDER_QUEUE = 'confirm-orders';

/**
 * Jobs that the reaper reads to find out which orders are queued. If more are waiting, it
 * redelivers nothing: most likely they contain the orphans.
 */
const REAPER_QUEUE_SCAN_MAX = 2_000;

/** Jobs that are read together; a full one is about 90 KB. */
const READ_JOBS = 100;

/** States of jobs that are not done. */
const OPEN_STATES = ['waiting', 'active', 'delayed', 'prioritized'] as const;

const COLUMNS = 'id, buyer, quantity, ms after reserved_at, request id, idempotency key if any';

/** Of an order, without the sale's id and the hyphen in front. */
const id = Type.String({ pattern: '^[0-7][0-9A-HJKMNP-TV-Z]{25}$' });
const buyer = Type.String({ minLength: 1 });
const quantity = Type.Integer({ minimum: 1, maximum: MAX_QUANTITY });
/** The range of a JavaScript date. */
const TIME_MS = { minimum: 0, maximum: 8.64e15 };
const ms = Type.Integer(TIME_MS);
const requestId = Type.String();

/**
 * What a job carries, as Bull Board shows it. Orders are rows without field names, which would more
 * than double the bytes in Redis (152 instead of 63 an order) and the time to write and parse them
 * (3.4 instead of 0.8 µs).
 */
const ConfirmOrdersJobSchema = Type.Object({
  sale_id: Type.String({ minLength: 1 }),
  epoch: Type.Integer({
    minimum: 0,
    description: 'Of the inventory that accepted the orders; 0: recovered by an operator.',
  }),
  reserved_at: Type.Integer({
    ...TIME_MS,
    description: 'When the first order was reserved: ms since 1970 by the clock of Redis.',
  }),
  columns: Type.Literal(COLUMNS),
  orders: Type.Array(
    Type.Union([
      Type.Tuple([id, buyer, quantity, ms, requestId]),
      Type.Tuple([id, buyer, quantity, ms, requestId, Type.String()]),
    ]),
    { minItems: 1 },
  ),
  // Checked on its own: a malformed trace must not keep an order from the ledger.
  traces: Type.Optional(
    Type.Unknown({ description: 'Of sampled orders: row in `orders`, W3C traceparent. Absent without any.' }),
  ),
});

const isConfirmOrdersJob = TypeCompiler.Compile(ConfirmOrdersJobSchema);

const areTraces = TypeCompiler.Compile(
  Type.Array(Type.Tuple([Type.Integer({ minimum: 0 }), Type.String({ pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-01$' })])),
);

export type ConfirmOrdersJob = Static<typeof ConfirmOrdersJobSchema>;

export type OrderQueue = ReturnType<typeof createOrderQueue>;

/** @param redis of connectForRequests in the API (an add must fail in time), else connectForWork */
export function createOrderQueue({ redis, prefix }: { redis: AnyRedis; prefix: string }) {
  const queue = new Queue<ConfirmOrdersJob>(ORDER_QUEUE, {
    connection: redis,
    prefix,
    defaultJobOptions: {
      attempts: CONFIRM_ATTEMPTS,
      backoff: { type: 'exponential', delay: CONFIRM_BACKOFF_MS },
      removeOnComplete: { count: KEEP_COMPLETED_JOBS },
      removeOnFail: { count: KEEP_FAILED_JOBS },
    },
  });
  // The connection logs when Redis goes and comes back.
  queue.on('error', () => {});

  return {
    /** For Bull Board. */
    bullQueue: queue,

    /**
     * Adds jobs of at most JOB_ORDERS_MAX orders each.
     *
     * @throws if Redis does not answer in time; then it is unknown which were added, and no units
     * may be released
     */
    async add(batches: readonly OrderBatch[], ordersPerJob = JOB_ORDERS_MAX): Promise<void> {
      const jobs = batches.flatMap(({ saleId, epoch, orders }) => {
        const parts = [];
        for (let at = 0; at < orders.length; at += ordersPerJob) {
          parts.push({
            name: ORDER_QUEUE,
            data: encodeJob({ saleId, epoch, orders: orders.slice(at, at + ordersPerJob) }),
            // BullMQ reserves ids of digits alone.
            opts: { jobId: `job-${newUlid()}` },
          });
        }
        return parts;
      });
      if (jobs.length === 0) return;
      failpoint('add-jobs', 'begins');
      // Not addBulk: its MULTI would be refused while Redis is full, and costs two commands more.
      await Promise.all(jobs.map(({ name, data, opts }) => queue.add(name, data, opts)));
      failpoint('add-jobs', 'done');
    },

    /**
     * @returns ids of the orders in jobs that are not done; null if there are more jobs than
     * REAPER_QUEUE_SCAN_MAX: too many to read. Jobs that were delayed before a clock was set back
     * do not count: their orders would wait for hours.
     */
    async orderIdsInProgress(): Promise<Set<string> | null> {
      const counts = await queue.getJobCounts(...OPEN_STATES);
      if (Object.values(counts).reduce((sum, count) => sum + count, 0) > REAPER_QUEUE_SCAN_MAX) return null;
      // biome-ignore lint/plugin/wall-time: BullMQ stores the date
      const jobs = await readOpenJobs(redis, prefix, String((Date.now() + DELAY_MAX_MS) * SCORES_PER_MS));
      return new Set(jobs.flatMap(({ batch }) => batch?.orders.map(({ id }) => id) ?? []));
    },

    /**
     * @returns jobs by state, and when the oldest that is not done was added: ms since 1970 by the
     * producer's clock
     */
    async readLoad(): Promise<{ jobs: Record<string, number>; oldestAddedAt: number | null }> {
      const [jobs, first] = await Promise.all([
        queue.getJobCounts(...OPEN_STATES, 'failed', 'completed'),
        // The first of each state.
        queue.getRanges([...OPEN_STATES], 0, 0, true),
      ]);
      const times = (await readOfJobs(redis, prefix, first, 'timestamp')).map(Number).filter((time) => time > 0);
      return { jobs, oldestAddedAt: times.length === 0 ? null : Math.min(...times) };
    },

    async close(): Promise<void> {
      await queue.close();
    },
  };
}

export interface OpenJob {
  readonly id: string;
  /** null: the job's data is not a batch of orders. */
  readonly batch: OrderBatch | null;
}

/**
 * Reads the jobs that are not done. It writes nothing; creating a BullMQ queue does.
 *
 * @param latest score; jobs that are delayed for longer are left out
 */
export async function readOpenJobs(redis: AnyRedis, prefix: string, latest = '+inf'): Promise<OpenJob[]> {
  const delayed = () => redis.zrangebyscore(keyOf(prefix, 'delayed'), '-inf', latest);
  const list = (name: string) => redis.lrange(keyOf(prefix, name), 0, -1);
  // In the order of a job's states, so that one that moves on is read. A MULTI would be refused
  // while Redis is full.
  const prioritized = () => redis.zrange(keyOf(prefix, 'prioritized'), '0', '-1');
  const reads = [delayed(), list('paused'), prioritized(), list('wait'), list('active'), delayed()];
  const ids = [...new Set((await Promise.all(reads)).flat())];
  const found = await readOfJobs(redis, prefix, ids, 'data');
  return ids.flatMap((id, i) => {
    const data = found[i];
    return typeof data === 'string' ? [{ id, batch: decodeJob(parseJson(data)) }] : [];
  });
}

/**
 * BullMQ itself throws at a job whose data is not JSON, and returns none of the others.
 *
 * @returns one field of each job; null if the job is gone, '' if its key is not a hash
 */
async function readOfJobs(redis: AnyRedis, prefix: string, ids: readonly string[], field: 'data' | 'timestamp') {
  const found: (string | null)[] = [];
  for (let at = 0; at < ids.length; at += READ_JOBS) {
    const some = ids.slice(at, at + READ_JOBS);
    const reads = some.map((id) => redis.hget(keyOf(prefix, id), field).catch(emptyIfNoHash));
    found.push(...(await Promise.all(reads)));
  }
  return found;
}

const keyOf = (prefix: string, name: string): string => `${prefix}:${ORDER_QUEUE}:${name}`;

function fail(error: Error): never {
  throw error;
}

function emptyIfNoHash(error: Error): '' {
  return error.message.startsWith('WRONGTYPE') ? '' : fail(error);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What `add` writes. */
export function encodeJob({ saleId, epoch, orders }: OrderBatch): ConfirmOrdersJob {
  const traces = orders.flatMap(({ traceparent }, row) => (traceparent === undefined ? [] : [[row, traceparent]]));
  const reservedAt = orders.reduce((least, order) => Math.min(least, order.reservedAt), Number.POSITIVE_INFINITY);
  return {
    sale_id: saleId,
    epoch,
    reserved_at: reservedAt,
    columns: COLUMNS,
    orders: orders.map((order) => {
      const id = order.id.slice(saleId.length + 1);
      const after = order.reservedAt - reservedAt;
      return order.idempotencyKey === null
        ? [id, order.buyerId, order.quantity, after, order.requestId]
        : [id, order.buyerId, order.quantity, after, order.requestId, order.idempotencyKey];
    }),
    ...(traces.length > 0 ? { traces } : {}),
  };
}

/** @returns null if the data is not what `add` writes */
export function decodeJob(data: unknown): OrderBatch | null {
  if (!isConfirmOrdersJob.Check(data)) return null;
  const { reserved_at: first } = data;
  if (data.orders.some(([, , , after]) => first + after > TIME_MS.maximum)) return null;
  const traces = areTraces.Check(data.traces) ? new Map(data.traces) : null;
  return {
    saleId: data.sale_id,
    epoch: data.epoch,
    orders: data.orders.map(([id, buyerId, quantity, after, requestId, idempotencyKey = null], row) => ({
      id: `${data.sale_id}-${id}`,
      buyerId,
      quantity,
      reservedAt: first + after,
      requestId,
      idempotencyKey,
      traceparent: traces?.get(row),
    })),
  };
}
