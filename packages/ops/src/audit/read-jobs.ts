/** The jobs of the queue that are not done. Read from the keys of BullMQ: it fails as a whole if one job's data is not JSON. */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import { decodeJob, ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Violation } from './audit-report.ts';

const LISTS = ['wait', 'active', 'paused'] as const;
const SORTED_SETS = ['delayed', 'prioritized'] as const;
/** Jobs whose data is fetched together: a full one is about 90 KB. */
const CHUNK = 100;

export interface AuditedJob extends OrderBatch {
  readonly id: string;
}

export interface JobsSnapshot {
  readonly bySale: ReadonlyMap<string, readonly AuditedJob[]>;
  readonly unreadable: readonly Violation[];
}

/** Call it before the inventory and the ledger are read: an order in a job has a reservation by then, or has ended. */
export async function readJobs(redis: AnyRedis, keys: Keys): Promise<JobsSnapshot> {
  const keyOf = (name: string): string => `${keys.queuePrefix}:${ORDER_QUEUE}:${name}`;
  const multi = redis.multi();
  for (const list of LISTS) multi.lrange(keyOf(list), 0, -1);
  for (const set of SORTED_SETS) multi.zrange(keyOf(set), '0', '-1');
  const states = (await multi.exec()) ?? [];
  const ids = [...new Set(states.flatMap(([error, found]) => (error ? fail(error) : (found as string[]))))];
  const jobs: AuditedJob[] = [];
  const unreadable: Violation[] = [];
  for (let at = 0; at < ids.length; at += CHUNK) {
    const chunk = ids.slice(at, at + CHUNK);
    const pipeline = redis.pipeline();
    for (const id of chunk) pipeline.hget(keyOf(id), 'data');
    for (const [i, [error, data]] of ((await pipeline.exec()) ?? []).entries()) {
      const id = chunk[i] as string;
      if (error && !error.message.startsWith('WRONGTYPE')) throw error;
      // It was done and removed in the meantime.
      if (!error && data === null) continue;
      const batch = decodeJob(parseJson(data));
      if (batch) jobs.push({ id, ...batch });
      else
        unreadable.push({
          code: 'JOB_UNREADABLE',
          subject: id,
          detail: 'The data of this job is not a batch of orders.',
        });
    }
  }
  return { bySale: Map.groupBy(jobs, ({ saleId }) => saleId), unreadable };
}

function parseJson(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}

function fail(error: Error): never {
  throw error;
}
