/** The queue between the inventory and the ledger: one kind of job, carrying accepted orders of one sale. */
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { Queue } from 'bullmq';
import { ulid } from 'ulid';
import {
  CONFIRM_ATTEMPTS,
  CONFIRM_BACKOFF_MS,
  JOB_ORDERS_MAX,
  KEEP_COMPLETED_JOBS,
  KEEP_FAILED_JOBS,
  MAX_QUANTITY,
  REAPER_QUEUE_LOOK_MAX,
} from '../config/limits.ts';
import { type OrderBatch, saleIdOf } from '../domain/order.ts';
import { failpoint } from '../runtime/failpoints.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

export const ORDER_QUEUE = 'confirm-orders';

/** Of which a full one is about 90 KB. */
const JOBS_AT_A_TIME = 100;

/** Of jobs that somebody takes care of. */
const STATES_UNDER_WAY = ['waiting', 'active', 'delayed', 'prioritized'] as const;

const COLUMNS = 'id, buyer, quantity, ms after reserved_at, request id, idempotency key if any';

/** Of an order, without the sale's and its hyphen in front. */
const id = Type.String({ pattern: '^[0-7][0-9A-HJKMNP-TV-Z]{25}$' });
const buyer = Type.String({ minLength: 1 });
const quantity = Type.Integer({ minimum: 1, maximum: MAX_QUANTITY });
/** That a date can have. */
const TIME_MS = { minimum: 0, maximum: 8.64e15 };
const ms = Type.Integer(TIME_MS);
const requestId = Type.String();

/**
 * What a job carries, as Bull Board shows it. Orders are rows without names and with what is theirs alone: names would be half of what Redis
 * keeps and sends. `id` is that of the order without the sale's in front.
 */
const ConfirmOrdersJobSchema = Type.Object({
  sale_id: Type.String({ minLength: 1 }),
  epoch: Type.Integer({
    minimum: 0,
    description: "Of the inventory that accepted the orders; 0: found again by an operator's command.",
  }),
  reserved_at: Type.Integer({
    ...TIME_MS,
    description: 'Of the order that was reserved first: ms since 1970 by the clock of Redis.',
  }),
  columns: Type.Literal(COLUMNS),
  orders: Type.Array(
    Type.Union([
      Type.Tuple([id, buyer, quantity, ms, requestId]),
      Type.Tuple([id, buyer, quantity, ms, requestId, Type.String()]),
    ]),
    { minItems: 1 },
  ),
  // Checked apart from the rest: what is wrong with a trace must not keep an order from the ledger.
  traces: Type.Optional(
    Type.Unknown({ description: 'Of sampled orders: row in `orders`, W3C traceparent. Absent where there are none.' }),
  ),
});

const isConfirmOrdersJob = TypeCompiler.Compile(ConfirmOrdersJobSchema);

const areTraces = TypeCompiler.Compile(
  Type.Array(Type.Tuple([Type.Integer({ minimum: 0 }), Type.String({ pattern: '^00-[0-9a-f]{32}-[0-9a-f]{16}-01$' })])),
);

/** The form of 0.1.0, read for as long as such jobs may wait: an update brings the workers first. */
const isNamedOrdersJob = TypeCompiler.Compile(
  Type.Object({
    sale_id: Type.String({ minLength: 1 }),
    epoch: Type.Optional(Type.Integer({ minimum: 0 })),
    orders: Type.Array(
      Type.Object({
        order_id: Type.String({ minLength: 1 }),
        buyer_id: Type.String({ minLength: 1 }),
        quantity: Type.Integer({ minimum: 1, maximum: MAX_QUANTITY }),
        reserved_at: Type.Integer({ minimum: 0, maximum: 8.64e15 }),
        request_id: Type.String(),
        idempotency_key: Type.Optional(Type.String()),
      }),
      { minItems: 1 },
    ),
  }),
);

export type ConfirmOrdersJob = Static<typeof ConfirmOrdersJobSchema>;

export type OrderQueue = ReturnType<typeof createOrderQueue>;

/** @param redis where an add must fail within a budget (the API): of connectForRequests; else of connectForWork */
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
  // The connection says by itself when Redis goes and comes back.
  queue.on('error', () => {});

  /**
   * One field of each job. Not through BullMQ's jobs: it cannot make one whose data is no JSON, and then all are missing.
   *
   * @returns null where the job is gone, or is none
   */
  async function readOfJobs(ids: readonly string[], field: 'data' | 'timestamp'): Promise<(string | null)[]> {
    const found: (string | null)[] = [];
    for (let at = 0; at < ids.length; at += JOBS_AT_A_TIME) {
      const some = ids.slice(at, at + JOBS_AT_A_TIME);
      found.push(...(await Promise.all(some.map((id) => redis.hget(queue.toKey(id), field).catch(nullIfNoHash)))));
    }
    return found;
  }

  return {
    /** For Bull Board. */
    bullQueue: queue,

    /**
     * Adds jobs of at most JOB_ORDERS_MAX orders each.
     *
     * @throws when Redis does not take them in time; then it is unknown which were added, and nothing may be given back
     */
    async add(batches: readonly OrderBatch[], ordersPerJob = JOB_ORDERS_MAX): Promise<void> {
      const jobs = batches.flatMap(({ saleId, epoch, orders }) => {
        const parts = [];
        for (let at = 0; at < orders.length; at += ordersPerJob) {
          parts.push({
            name: ORDER_QUEUE,
            data: encodeJob({ saleId, epoch, orders: orders.slice(at, at + ordersPerJob) }),
            // A letter first: BullMQ takes an id of digits alone for one of its own.
            opts: { jobId: `job-${ulid()}` },
          });
        }
        return parts;
      });
      if (jobs.length === 0) return;
      failpoint('add-jobs', 'begins');
      await queue.addBulk(jobs);
      failpoint('add-jobs', 'done');
    },

    /**
     * Order ids that jobs on their way carry (waiting, delayed, at work).
     *
     * @returns null where there are more jobs than REAPER_QUEUE_LOOK_MAX: too many to look through
     */
    async orderIdsUnderWay(): Promise<Set<string> | null> {
      const counts = await queue.getJobCounts(...STATES_UNDER_WAY);
      if (Object.values(counts).reduce((sum, count) => sum + count, 0) > REAPER_QUEUE_LOOK_MAX) return null;
      const ids = await queue.getRanges([...STATES_UNDER_WAY], 0, -1);
      const jobs = (await readOfJobs(ids, 'data')).map(parseJson);
      // A job that cannot be read takes care of nothing.
      return new Set(jobs.flatMap((data) => decodeJob(data)?.orders.map((order) => order.id) ?? []));
    },

    /** @returns jobs by state, and when the oldest of those that are not done was added: ms since 1970 by the clock of who added it */
    async readLoad(): Promise<{ jobs: Record<string, number>; oldestAddedAt: number | null }> {
      const [jobs, first] = await Promise.all([
        queue.getJobCounts(...STATES_UNDER_WAY, 'failed', 'completed'),
        // The first of each state.
        queue.getRanges([...STATES_UNDER_WAY], 0, 0, true),
      ]);
      const times = (await readOfJobs(first, 'timestamp')).map(Number).filter((time) => time > 0);
      return { jobs, oldestAddedAt: times.length === 0 ? null : Math.min(...times) };
    },

    async close(): Promise<void> {
      await queue.close();
    },
  };
}

function nullIfNoHash(error: Error): null {
  if (error.message.startsWith('WRONGTYPE')) return null;
  throw error;
}

function parseJson(text: string | null): unknown {
  try {
    return JSON.parse(text ?? 'null');
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

/** @returns null where the data is not what `add` writes: a poisoned job */
export function decodeJob(data: unknown): OrderBatch | null {
  if (isNamedOrdersJob.Check(data)) {
    if (data.orders.some((order) => saleIdOf(order.order_id) !== data.sale_id)) return null;
    const orders = data.orders.map((order) => ({
      id: order.order_id,
      buyerId: order.buyer_id,
      quantity: order.quantity,
      reservedAt: order.reserved_at,
      requestId: order.request_id,
      idempotencyKey: order.idempotency_key ?? null,
    }));
    return { saleId: data.sale_id, epoch: data.epoch ?? 1, orders };
  }
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
