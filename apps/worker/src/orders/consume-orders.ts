/**
 * Takes jobs from the queue: one job is one batch of accepted orders of one sale. If it fails:
 *   - A dependency is unavailable: hold the job and retry until it works again.
 *   - Only this sale must wait: put the job back for a second. Its row is locked, its inventory is
 *     being rebuilt, or an order ended after the ledger was asked.
 *   - Anything else uses up an attempt. After the last one the orders are rejected, or left to the
 *     reaper.
 */

import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import { InventoryRecoveringError, OrderEndedError } from '@flash-sale/core/inventory/outcomes.ts';
import { CONFIRM_ATTEMPTS, type ConfirmOrdersJob, decodeJob, ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import { cannotWrite, isAboutTheOrder, isRowLocked, unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import { failpoint } from '@flash-sale/core/runtime/failpoints.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Logger } from 'pino';
import type { JobInfo } from './measure-orders.ts';

/** Milliseconds between two tries while a dependency is unavailable. */
export const UNAVAILABLE_RETRY_MS = 250;

/**
 * Milliseconds until a job is retried that waits for its own sale: a locked row, a closed
 * inventory.
 */
const SALE_RETRY_MS = 1_000;

/**
 * Tries within one attempt at a job that fails although PostgreSQL answers and can write: the job
 * itself may be at fault.
 */
const TRIES_WHILE_ANSWERING = 3;

export function startOrderConsumer(options: {
  redis: AnyRedis;
  prefix: string;
  concurrency: number;
  /** Milliseconds that the lock on a job lasts without renewal. */
  jobLockMs: number;
  /** Milliseconds that one call waits for a job. */
  pollMs: number;
  confirm: (batch: OrderBatch) => Promise<void>;
  reject: (batch: OrderBatch) => Promise<void>;
  /** Called if the last attempt failed, but not because of the orders: the reaper redelivers. */
  leaveToReaper: (batch: OrderBatch) => Promise<void>;
  /** Whether PostgreSQL answers. */
  ledgerAnswers: () => Promise<boolean>;
  /** Runs the work on a job, and traces it. */
  trace: (job: JobInfo, batch: OrderBatch, work: () => Promise<void>) => Promise<void>;
  log: Logger;
}) {
  const { confirm, reject, leaveToReaper, ledgerAnswers, trace, log } = options;
  let stopping = false;
  /** Outages that orders wait for now: one line for each outage, not for each job. */
  const outages = new Set<string>();

  async function consumeJob(job: Job<ConfirmOrdersJob>, token?: string): Promise<void> {
    failpoint('take-job', 'begins');
    const batch = decodeJob(job.data);
    if (!batch) {
      // Its orders, if it had any, are still reservations: the reaper redelivers them.
      log.error({ job: job.id }, 'a job cannot be read');
      throw new UnrecoverableError('the data of this job cannot be read');
    }
    await trace({ id: job.id ?? '', attempt: job.attemptsMade + 1 }, batch, () => confirmOrWait(job, token, batch));
    failpoint('take-job', 'done');
  }

  async function confirmOrWait(job: Job<ConfirmOrdersJob>, token: string | undefined, batch: OrderBatch) {
    let failedWhileAnswering = 0;
    for (;;) {
      try {
        await confirm(batch);
        if (outages.size > 0) log.info({ waitedFor: [...outages] }, 'orders are confirmed again');
        outages.clear();
        return;
      } catch (error) {
        const dependency = unavailableDependency(error);
        if (isOnlyThisSale(error) || (dependency !== null && stopping)) {
          // biome-ignore lint/plugin/wall-time: BullMQ stores the date
          await job.moveToDelayed(Date.now() + SALE_RETRY_MS, token);
          throw new DelayedError();
        }
        if (dependency === 'postgres' && !cannotWrite(error) && (await ledgerAnswers())) failedWhileAnswering += 1;
        if (dependency === null || failedWhileAnswering === TRIES_WHILE_ANSWERING) {
          await attemptFailed(job, batch, error as Error);
          throw error;
        }
        reportOutage(dependency, error as Error);
        do await new Promise((resolve) => setTimeout(resolve, UNAVAILABLE_RETRY_MS));
        while (dependency === 'postgres' && !stopping && !(await ledgerAnswers()));
      }
    }
  }

  function reportOutage(dependency: string, error: Error): void {
    // A server that comes back read-only is a different outage, with a different remedy.
    const outage = cannotWrite(error) ? `${dependency} cannot write` : dependency;
    if (!outages.has(outage))
      log.warn({ dependency, err: error.message }, 'orders cannot be confirmed; they wait, and no attempt is used up');
    outages.add(outage);
  }

  async function attemptFailed(job: Job<ConfirmOrdersJob>, batch: OrderBatch, error: Error): Promise<void> {
    const attempt = job.attemptsMade + 1;
    const last = attempt >= (job.opts.attempts ?? CONFIRM_ATTEMPTS);
    log.warn(
      { job: job.id, attempt, orders: batch.orders.length, err: error.message },
      last ? 'the last attempt at a job failed' : 'an attempt at a job failed',
    );
    // Never reject because a server or a client library failed.
    if (last) await (isAboutTheOrder(error) ? reject(batch) : leaveToReaper(batch));
  }

  const worker = new Worker<ConfirmOrdersJob>(ORDER_QUEUE, consumeJob, {
    connection: options.redis,
    prefix: options.prefix,
    concurrency: options.concurrency,
    lockDuration: options.jobLockMs,
    stalledInterval: options.jobLockMs / 2,
    drainDelay: options.pollMs / 1_000,
  });
  worker.on('error', (error) => log.debug({ err: error.message }, 'queue connection'));
  worker.on('stalled', (jobId) => log.warn({ job: jobId }, 'a worker died while it had this job; it is taken again'));
  return {
    /** False once it is stopping. */
    isRunning: (): boolean => worker.isRunning(),
    /** Resolves when the jobs in progress are done, or are back in the queue. */
    close(): Promise<void> {
      stopping = true;
      return worker.close();
    },
  };
}

function isOnlyThisSale(error: unknown): boolean {
  return error instanceof InventoryRecoveringError || error instanceof OrderEndedError || isRowLocked(error);
}
