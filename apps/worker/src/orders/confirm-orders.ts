/**
 * Makes a batch of accepted orders true.
 *   1. The ledger commits: each order is confirmed or rejected, for ever.
 *   2. The inventory follows (apply-outcomes.ts): confirmed orders commit, keys lead to confirmed orders, rejected orders give their units back.
 * A crash after 1 leaves reservations; doing it all again changes nothing in the ledger and mends the inventory.
 */

import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { writeLines } from '@flash-sale/core/runtime/logging.ts';
import type { Stage, TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import { type SpanGroup, traceIdOf, within } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { Logger } from 'pino';
import { applyOutcomes, type FollowParts } from './apply-outcomes.ts';

interface Parts {
  readonly inventory: FollowParts['inventory'] & Pick<Inventory, 'readmit'>;
  readonly orders: FollowParts['orders'] & Pick<OrderStore, 'confirm'>;
  readonly log: Logger;
  /** Told of each order that the ledger decided just now. */
  readonly count?: CountOrder;
  readonly time?: TimeBatch;
}

export type CountOrder = (outcome: OrderOutcome['status']) => void;

const LEDGER_PART = {
  kind: 'client',
  name: "the ledger's transaction",
  fields: { 'db.system.name': 'postgresql' },
} as const;
const COMMIT_PART = { kind: 'client', name: 'commit', fields: { 'db.system.name': 'redis' } } as const;

/**
 * @param spans of the job, for the orders of it that are sampled
 * @throws when ledger or inventory cannot be reached; then the whole step is to be done again
 */
export async function confirmOrders(
  { inventory, orders, log, count = () => {}, time = () => {} }: Parts,
  batch: OrderBatch,
  spans: SpanGroup | null = null,
): Promise<void> {
  const size = batch.orders.length;
  const timed = <Result>(stage: Stage, work: () => Promise<Result>): Promise<Result> => {
    const begun = performance.now();
    return work().finally(() => time(stage, performance.now() - begun, size));
  };
  const { outcomes, epoch } = await timed('confirm', () =>
    within(spans, LEDGER_PART, () => orders.confirm(batch, inventory.readmit)),
  );
  sayOutcomes({ log, count }, batch, outcomes);
  const confirmed = { ...batch, epoch };
  await timed('commit', () =>
    within(spans, COMMIT_PART, () => applyOutcomes({ inventory, orders }, confirmed, outcomes)),
  );
  const oldest = batch.orders.reduce((least, order) => Math.min(least, order.reservedAt), Number.POSITIVE_INFINITY);
  time('whole', Math.max(0, Date.now() - oldest), size);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') spans?.failOne(outcome.id, outcome.reason);
  }
}

/**
 * Counts each order that the ledger decided just now, and writes a line of it. Before the inventory follows: whoever does that again, because it
 * failed, finds nothing that was decided just now.
 */
export function sayOutcomes(
  { log, count }: { log: Logger; count: CountOrder },
  batch: OrderBatch,
  outcomes: readonly OrderOutcome[],
): void {
  const fresh = outcomes.filter((outcome) => outcome.fresh);
  const byId = new Map(fresh.length > 0 ? batch.orders.map((order) => [order.id, order]) : []);
  const line = ({ id }: OrderOutcome) => {
    const order = byId.get(id);
    const trace_id = traceIdOf(order?.traceparent);
    return { order_id: id, sale_id: batch.saleId, reqId: order?.requestId, trace_id };
  };
  if (log.isLevelEnabled('info')) {
    writeLines(log, 'order confirmed', fresh.filter((outcome) => outcome.status === 'confirmed').map(line));
  }
  for (const outcome of fresh) {
    count(outcome.status);
    if (outcome.status === 'rejected') log.warn({ ...line(outcome), reason: outcome.reason }, 'order rejected');
  }
}
