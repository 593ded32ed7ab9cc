/** The jobs of the queue that are not done, by sale. */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import { readOpenJobs } from '@flash-sale/core/queue/order-queue.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Violation } from './audit-report.ts';
import { violation } from './checks.ts';

export interface AuditedJob extends OrderBatch {
  readonly id: string;
}

export interface JobsSnapshot {
  readonly bySale: ReadonlyMap<string, readonly AuditedJob[]>;
  readonly unreadable: readonly Violation[];
}

/**
 * Call it before the inventory and the ledger are read: by then, an order in a job has a
 * reservation or has ended.
 */
export async function readJobs(redis: AnyRedis, keys: Keys): Promise<JobsSnapshot> {
  const jobs: AuditedJob[] = [];
  const unreadable: Violation[] = [];
  for (const { id, batch } of await readOpenJobs(redis, keys.queuePrefix)) {
    if (batch) jobs.push({ id, ...batch });
    else unreadable.push(violation('JOB_UNREADABLE', id, 'The data of this job is not a batch of orders.'));
  }
  return { bySale: Map.groupBy(jobs, ({ saleId }) => saleId), unreadable };
}
