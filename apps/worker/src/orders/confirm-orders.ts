/**
 * Makes a batch of accepted orders true.
 *   1. The ledger commits: each order is confirmed or rejected, for ever.
 *   2. The gate follows (follow-ledger.ts): confirmed orders settle, keys lead to confirmed orders, rejected orders give their units back.
 * A crash after 1 leaves reservations; doing it all again changes nothing in the ledger and mends the gate.
 */
import { writeLines } from '@flash-sale/core/logging.ts';
import type { Stage, TimeBatch } from '@flash-sale/core/metrics.ts';
import type { OrderBatch, OrderVerdict } from '@flash-sale/core/orders/order.ts';
import type { OrderStore } from '@flash-sale/core/orders/order-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { type SpanGroup, traceIdOf, within } from '@flash-sale/core/tracing/tracing.ts';
import type { Logger } from 'pino';
import { type FollowParts, followLedger } from './follow-ledger.ts';

interface Parts {
  readonly gate: FollowParts['gate'] & Pick<StockGate, 'adopt'>;
  readonly orders: FollowParts['orders'] & Pick<OrderStore, 'confirm'>;
  readonly log: Logger;
  /** Told of each order that the ledger decided just now. */
  readonly count?: CountOrder;
  readonly time?: TimeBatch;
}

export type CountOrder = (outcome: OrderVerdict['status']) => void;

const LEDGER_PART = {
  kind: 'client',
  name: "the ledger's transaction",
  fields: { 'db.system.name': 'postgresql' },
} as const;
const SETTLE_PART = { kind: 'client', name: 'settle', fields: { 'db.system.name': 'redis' } } as const;

/**
 * @param spans of the job, for the orders of it that are sampled
 * @throws when ledger or gate cannot be reached; then the whole step is to be done again
 */
export async function confirmOrders(
  { gate, orders, log, count = () => {}, time = () => {} }: Parts,
  batch: OrderBatch,
  spans: SpanGroup | null = null,
): Promise<void> {
  const size = batch.orders.length;
  const timed = <Result>(stage: Stage, work: () => Promise<Result>): Promise<Result> => {
    const begun = performance.now();
    return work().finally(() => time(stage, performance.now() - begun, size));
  };
  const { verdicts, epoch } = await timed('confirm', () =>
    within(spans, LEDGER_PART, () => orders.confirm(batch, gate.adopt)),
  );
  sayVerdicts({ log, count }, batch, verdicts);
  const confirmed = { ...batch, epoch };
  await timed('settle', () => within(spans, SETTLE_PART, () => followLedger({ gate, orders }, confirmed, verdicts)));
  const oldest = batch.orders.reduce((least, order) => Math.min(least, order.reservedAt), Number.POSITIVE_INFINITY);
  time('whole', Math.max(0, Date.now() - oldest), size);
  for (const verdict of verdicts) {
    if (verdict.status === 'rejected') spans?.failOne(verdict.id, verdict.reason);
  }
}

/**
 * Counts each order that the ledger decided just now, and writes a line of it. Before the gate follows: whoever does that again, because it
 * failed, finds nothing that was decided just now.
 */
export function sayVerdicts(
  { log, count }: { log: Logger; count: CountOrder },
  batch: OrderBatch,
  verdicts: readonly OrderVerdict[],
): void {
  const fresh = verdicts.filter((verdict) => verdict.fresh);
  const byId = new Map(fresh.length > 0 ? batch.orders.map((order) => [order.id, order]) : []);
  const line = ({ id }: OrderVerdict) => {
    const order = byId.get(id);
    const trace_id = traceIdOf(order?.traceparent);
    return { order_id: id, sale_id: batch.saleId, reqId: order?.requestId, trace_id };
  };
  if (log.isLevelEnabled('info')) {
    writeLines(log, 'order confirmed', fresh.filter((verdict) => verdict.status === 'confirmed').map(line));
  }
  for (const verdict of fresh) {
    count(verdict.status);
    if (verdict.status === 'rejected') log.warn({ ...line(verdict), reason: verdict.reason }, 'order rejected');
  }
}
