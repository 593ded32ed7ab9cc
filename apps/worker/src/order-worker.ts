/** Takes jobs from the queue: one job is one batch of accepted orders of one sale. */
import { awayPart, isAboutTheOrder } from '@flash-sale/core/faults.ts';
import { CONFIRM_ATTEMPTS, JOB_LOCK_MS, STALLED_CHECK_MS } from '@flash-sale/core/limits.ts';
import { type ConfirmOrdersJob, decodeJob, ORDER_QUEUE, type OrderBatch } from '@flash-sale/core/queue/order-queue.ts';
import { type Job, UnrecoverableError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';

export interface OrderWorker {
  /** False once it was told to stop. */
  isRunning(): boolean;
  /** Resolves when the jobs at work are done. */
  close(): Promise<void>;
}

export function startOrderWorker(options: {
  redis: Redis;
  prefix: string;
  concurrency: number;
  confirm: (batch: OrderBatch) => Promise<void>;
  giveUp: (batch: OrderBatch) => Promise<void>;
  /** Called where the last attempt failed because a server was away. */
  postpone: (batch: OrderBatch) => Promise<void>;
  log: Logger;
}): OrderWorker {
  const { confirm, giveUp, postpone, log } = options;

  async function take(job: Job<ConfirmOrdersJob>): Promise<void> {
    const batch = decodeJob(job.data);
    if (!batch) {
      // Its orders, if it had any, are still reservations: the sweep hands them over again from there.
      log.error({ job: job.id }, 'a job cannot be read');
      throw new UnrecoverableError('the data of this job cannot be read');
    }
    try {
      await confirm(batch);
    } catch (error) {
      const last = job.attemptsMade + 1 >= (job.opts.attempts ?? CONFIRM_ATTEMPTS);
      const about = {
        job: job.id,
        attempt: job.attemptsMade + 1,
        orders: batch.orders.length,
        err: (error as Error).message,
      };
      log.warn(
        { ...about, away: awayPart(error) },
        last ? 'the last attempt at a job failed' : 'an attempt at a job failed',
      );
      // Nobody is told "rejected" because a server was away or ailing: the sweep hands those over again.
      if (last) await (isAboutTheOrder(error) ? giveUp(batch) : postpone(batch));
      throw error;
    }
  }

  const worker = new Worker<ConfirmOrdersJob>(ORDER_QUEUE, take, {
    connection: options.redis,
    prefix: options.prefix,
    concurrency: options.concurrency,
    lockDuration: JOB_LOCK_MS,
    stalledInterval: STALLED_CHECK_MS,
  });
  worker.on('error', (error) => log.debug({ err: error.message }, 'queue connection'));
  worker.on('stalled', (jobId) => log.warn({ job: jobId }, 'a worker died at this job; it is taken up again'));
  return {
    isRunning: () => worker.isRunning(),
    close: () => worker.close(),
  };
}
