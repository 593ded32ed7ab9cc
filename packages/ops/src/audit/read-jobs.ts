/** BullMQ's jobs on their way, raw: its lists and sorted sets, and the data of each job's hash. */

import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { type Suspect, suspect } from './audit-report.ts';

const QUEUE = 'confirm-orders';
const LISTS = ['wait', 'active', 'paused'] as const;
const SORTED_SETS = ['delayed', 'prioritized'] as const;
/** Jobs whose data is fetched together: a full one is about 90 KB. */
const CHUNK = 100;
/** As the ledger takes it; spelled here once more, for the auditor trusts nobody. */
const ORDER_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

export interface AuditedJob {
  readonly id: string;
  readonly saleId: string;
  /** Of the inventory that accepted its orders; 0: found again by an operator's command. */
  readonly epoch: number;
  readonly orders: readonly { id: string; reservedAt: number }[];
}

export interface JobsSnapshot {
  readonly bySale: ReadonlyMap<string, readonly AuditedJob[]>;
  readonly unreadable: readonly Suspect[];
}

/**
 * To be read before the inventory and the ledger: whatever a job carries has a reservation by then, or has ended.
 *
 * @param wanted of which sales; null: of all
 */
export async function readJobs(redis: AnyRedis, keys: Keys, wanted: ReadonlySet<string> | null): Promise<JobsSnapshot> {
  const keyOf = (name: string): string => `${keys.queuePrefix}:${QUEUE}:${name}`;
  const multi = redis.multi();
  for (const list of LISTS) multi.lrange(keyOf(list), 0, -1);
  for (const set of SORTED_SETS) multi.zrange(keyOf(set), '0', '-1');
  const ids = new Set<string>();
  for (const [error, found] of (await multi.exec()) ?? []) {
    if (error) throw error;
    for (const id of found as string[]) ids.add(id);
  }
  const bySale = new Map<string, AuditedJob[]>();
  const unreadable: Suspect[] = [];
  const all = [...ids];
  for (let at = 0; at < all.length; at += CHUNK) {
    const chunk = all.slice(at, at + CHUNK);
    const pipeline = redis.pipeline();
    for (const id of chunk) pipeline.hget(keyOf(id), 'data');
    const replies = (await pipeline.exec()) ?? [];
    chunk.forEach((id, i) => {
      const [error, data] = replies[i] as [Error | null, string | null];
      if (error && !error.message.startsWith('WRONGTYPE')) throw error;
      // Done and gone since its id was read.
      if (!error && data === null) return;
      const job = parseJob(id, data ?? '');
      if (!job) unreadable.push(suspect('JOB_UNREADABLE', id, 'The data of this job is not what the queue carries.'));
      else if (!wanted || wanted.has(job.saleId)) {
        const jobs = bySale.get(job.saleId);
        if (jobs) jobs.push(job);
        else bySale.set(job.saleId, [job]);
      }
    });
  }
  return { bySale, unreadable };
}

function parseJob(id: string, text: string): AuditedJob | null {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof data !== 'object' || data === null) return null;
  const { sale_id: saleId, epoch, reserved_at: first, orders } = data as Record<string, unknown>;
  if (!isText(saleId) || !isWhole(epoch, 0) || !isWhole(first, 0)) return null;
  if (!Array.isArray(orders) || orders.length === 0) return null;
  const carried: { id: string; reservedAt: number }[] = [];
  for (const order of orders as unknown[]) {
    if (!Array.isArray(order)) return null;
    const [rest, buyerId, quantity, after] = order as unknown[];
    if (
      !isText(rest) ||
      !ORDER_ID.test(`${saleId}-${rest}`) ||
      !isText(buyerId) ||
      !isWhole(quantity, 1) ||
      !isWhole(after, 0)
    )
      return null;
    carried.push({ id: `${saleId}-${rest}`, reservedAt: first + after });
  }
  return { id, saleId, epoch, orders: carried };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isWhole(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}
