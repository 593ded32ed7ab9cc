/**
 * Times and traces the path of an order through the worker. worker.ts wraps the order store and the
 * inventory in it, so that the code on the path does not depend on it.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { Stage, TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import {
  measured,
  resumeSpans,
  type SpanGroup,
  type SpanKind,
  type Tracing,
} from '@flash-sale/core/runtime/tracing/tracing.ts';

interface SpanDescription {
  readonly kind: SpanKind;
  readonly name: string;
  readonly fields: Readonly<Record<string, string>>;
}

const LEDGER_SPAN: SpanDescription = {
  kind: 'client',
  name: 'ledger transaction',
  fields: { 'db.system.name': 'postgresql' },
};
const COMMIT_SPAN: SpanDescription = { kind: 'client', name: 'commit', fields: { 'db.system.name': 'redis' } };

/** Attributes of a job's spans. */
export interface JobInfo {
  readonly id: string;
  /** 1 = first attempt. */
  readonly attempt: number;
}

export function createOrderInstrumentation(time: TimeBatch, tracing: Tracing | null) {
  const jobSpans = new AsyncLocalStorage<SpanGroup>();

  async function measure<Result>(
    stage: Stage,
    span: SpanDescription,
    orders: number,
    work: () => Promise<Result>,
  ): Promise<Result> {
    if (orders === 0) return work();
    const spans = jobSpans.getStore()?.begin(span.kind, span.name, span.fields);
    return measured(spans, (ms) => time(stage, ms, orders), work);
  }

  return {
    ledger: <Store extends Pick<OrderStore, 'confirm'>>(orders: Store): Store => ({
      ...orders,
      confirm: (batch, readmit) =>
        measure('confirm', LEDGER_SPAN, batch.orders.length, () => orders.confirm(batch, readmit)),
    }),

    inventory: <Target extends Pick<Inventory, 'commit'>>(inventory: Target): Target => ({
      ...inventory,
      commit: (saleId, epoch, ids) =>
        measure('commit', COMMIT_SPAN, ids.length, () => inventory.commit(saleId, epoch, ids)),
    }),

    /**
     * Records the time since the batch's oldest order was reserved, and marks the spans of rejected
     * orders as failed.
     */
    async confirmation(batch: OrderBatch, confirm: () => Promise<OrderOutcome[]>): Promise<void> {
      const outcomes = await confirm();
      const oldest = batch.orders.reduce((least, order) => Math.min(least, order.reservedAt), Number.POSITIVE_INFINITY);
      // biome-ignore lint/plugin/wall-time: reserved by the clock of Redis
      time('end_to_end', Math.max(0, Date.now() - oldest), batch.orders.length);
      const spans = jobSpans.getStore();
      if (!spans) return;
      for (const outcome of outcomes) if (outcome.status === 'rejected') spans.failOne(outcome.id, outcome.reason);
    },

    /** A span for the job in the trace of each sampled order, around all work on it. */
    job<Result>(job: JobInfo, batch: OrderBatch, work: () => Promise<Result>): Promise<Result> {
      const fields = {
        'messaging.system': 'bullmq',
        'messaging.message.id': job.id,
        'messaging.batch.message_count': batch.orders.length,
        'flash_sale.attempt': job.attempt,
      };
      const spans = resumeSpans(tracing, batch.orders, { kind: 'consumer', name: 'confirm job', fields });
      return spans ? jobSpans.run(spans, () => spans.during(work)) : work();
    },
  };
}
