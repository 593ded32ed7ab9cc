/**
 * Takes jobs from the queue: one job is one batch of accepted orders of one sale.
 *   A part is away:        the job is held until it answers again, and can write again. No attempt is used up, and no further job is taken.
 *   Only its sale waits:   the job goes back for a second (its row is held, its inventory is being rebuilt, an order
 *                         has ended since the ledger was asked). No attempt is used up.
 *   Something else failed: an attempt is used up; after the last one the orders are given up, or left to the reaper.
 */

import { CONFIRM_ATTEMPTS, SALE_RETRY_MS, UNAVAILABLE_RETRY_MS } from '@flash-sale/core/config/limits.ts';
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { type ConfirmOrdersJob, decodeJob, ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import { cannotWrite, isAboutTheOrder, isRowHeld, unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import { failpoint } from '@flash-sale/core/runtime/failpoints.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { SpanGroup, type TraceSpan, type Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Logger } from 'pino';

/** Times that a job is tried in one attempt although the ledger answers, and does not say that it cannot write. */
const TRIES_WHILE_THERE = 3;

export interface OrderWorker {
  /** False once it was told to stop. */
  isRunning(): boolean;
  /** Resolves when the jobs at work are done, or are back in the queue. */
  close(): Promise<void>;
}

export function startOrderWorker(options: {
  redis: AnyRedis;
  prefix: string;
  concurrency: number;
  /** Milliseconds that the hold on a job lasts. */
  jobLockMs: number;
  confirm: (batch: OrderBatch, spans: SpanGroup | null) => Promise<void>;
  reject: (batch: OrderBatch) => Promise<void>;
  /** Whether PostgreSQL answers. */
  ledgerAnswers: () => Promise<boolean>;
  /** Called where the last attempt failed because the ledger could not do its work. */
  postpone: (batch: OrderBatch) => Promise<void>;
  log: Logger;
  tracing: Tracing | null;
}): OrderWorker {
  const { confirm, ledgerAnswers, reject, postpone, log, tracing } = options;
  let stopping = false;
  /** What orders wait for, each said once as it begins and all once they are over, not for every job. */
  const waitingFor = new Set<string>();

  async function take(job: Job<ConfirmOrdersJob>, token?: string): Promise<void> {
    failpoint('take-job', 'begins');
    const batch = decodeJob(job.data);
    if (!batch) {
      // Its orders, if it had any, are still reservations: the reaper redelivers them from there.
      log.error({ job: job.id }, 'a job cannot be read');
      throw new UnrecoverableError('the data of this job cannot be read');
    }
    const spans = tracing && beginSpans(tracing, job, batch);
    const work = () => confirmOrWait(job, token, batch, spans);
    return spans === null ? work() : spans.during(work);
  }

  async function confirmOrWait(
    job: Job<ConfirmOrdersJob>,
    token: string | undefined,
    batch: OrderBatch,
    spans: SpanGroup | null,
  ): Promise<void> {
    let failedWhileThere = 0;
    for (;;) {
      try {
        await confirm(batch, spans);
        if (waitingFor.size > 0) log.info({ waitedFor: [...waitingFor] }, 'orders are confirmed again');
        waitingFor.clear();
        failpoint('take-job', 'done');
        return;
      } catch (error) {
        // The server answers, and this job fails again and again: it may be at fault itself.
        const explained = isRowHeld(error) || cannotWrite(error);
        if (unavailableDependency(error) === 'postgres' && !explained && (await ledgerAnswers())) failedWhileThere += 1;
        if (failedWhileThere === TRIES_WHILE_THERE || !(await mayGoOn(job, token, error)))
          throw await failed(job, batch, error as Error);
      }
    }
  }

  /**
   * @returns whether to try again now; false where an attempt is used up
   * @throws DelayedError where the job went back to the queue
   */
  async function mayGoOn(job: Job<ConfirmOrdersJob>, token: string | undefined, error: unknown): Promise<boolean> {
    const part = unavailableDependency(error);
    const onlyItsSale =
      error instanceof InventoryRecoveringError || error instanceof OrderEndedError || isRowHeld(error);
    if (part === null && !onlyItsSale) return false;
    if (!onlyItsSale && !stopping) {
      // A server that went and came back as one that cannot write is another trouble, with another cure.
      const trouble = cannotWrite(error) ? `${part} cannot write` : `${part}`;
      if (!waitingFor.has(trouble))
        log.warn(
          { part, err: (error as Error).message },
          'orders cannot be confirmed; they wait, and no attempt is used up',
        );
      waitingFor.add(trouble);
      do await new Promise((resolve) => setTimeout(resolve, UNAVAILABLE_RETRY_MS));
      while (part === 'postgres' && !stopping && !(await ledgerAnswers()));
      return true;
    }
    await job.moveToDelayed(Date.now() + SALE_RETRY_MS, token);
    throw new DelayedError();
  }

  async function failed(job: Job<ConfirmOrdersJob>, batch: OrderBatch, error: Error): Promise<Error> {
    const attempt = job.attemptsMade + 1;
    const last = attempt >= (job.opts.attempts ?? CONFIRM_ATTEMPTS);
    log.warn(
      { job: job.id, attempt, orders: batch.orders.length, err: error.message },
      last ? 'the last attempt at a job failed' : 'an attempt at a job failed',
    );
    // Nobody is told "rejected" because the ledger was ailing: the reaper redelivers those.
    if (last) await (isAboutTheOrder(error) ? reject(batch) : postpone(batch));
    return error;
  }

  const worker = new Worker<ConfirmOrdersJob>(ORDER_QUEUE, take, {
    connection: options.redis,
    prefix: options.prefix,
    concurrency: options.concurrency,
    lockDuration: options.jobLockMs,
    stalledInterval: options.jobLockMs / 2,
  });
  worker.on('error', (error) => log.debug({ err: error.message }, 'queue connection'));
  worker.on('stalled', (jobId) => log.warn({ job: jobId }, 'a worker died at this job; it is taken up again'));
  return {
    isRunning: () => worker.isRunning(),
    close: () => {
      stopping = true;
      return worker.close();
    },
  };
}

/** A span of this job in the trace of each sampled order. @returns null where none is sampled */
function beginSpans(tracing: Tracing, job: Job<ConfirmOrdersJob>, { orders }: OrderBatch): SpanGroup | null {
  const spans = new Map<string, TraceSpan>();
  for (const { id, traceparent } of orders) {
    if (traceparent === undefined) continue;
    const fields = {
      'messaging.system': 'bullmq',
      'messaging.message.id': job.id ?? '',
      'messaging.batch.message_count': orders.length,
      'flash_sale.attempt': job.attemptsMade + 1,
      'flash_sale.order_id': id,
    };
    spans.set(id, tracing.resume(traceparent, 'consumer', 'confirm job', fields));
  }
  return spans.size > 0 ? new SpanGroup(spans) : null;
}
