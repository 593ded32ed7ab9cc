/** Timing and tracing decorators for inventory and queue; app.ts applies them. */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import { measured, resumeSpans, type SpanGroup, type Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';

interface Observers {
  readonly timeBatch: TimeBatch;
  readonly tracing: Tracing | null;
}

/** Times each call of the reserve script, and creates a span for every sampled order in it. */
export function observeReserve(
  inventory: Pick<Inventory, 'reserve'>,
  { timeBatch, tracing }: Observers,
): Pick<Inventory, 'reserve'> {
  return {
    reserve(saleId, requests, permits, bucket) {
      const fields = { 'db.system.name': 'redis', 'flash_sale.batch_size': requests.length };
      const spans = resumeSpans(tracing, requests, { kind: 'client', name: 'reserve', fields });
      const time = (ms: number) => timeBatch('reserve', ms, requests.length);
      return measured(spans, time, () => inventory.reserve(saleId, requests, permits, bucket));
    },
  };
}

/**
 * Times each add to the queue, and creates a span for every sampled order, which its job continues.
 */
export function observeAdd(queue: Pick<OrderQueue, 'add'>, { timeBatch, tracing }: Observers): Pick<OrderQueue, 'add'> {
  return {
    add(batches, ordersPerJob) {
      const all = batches.flatMap((batch) => batch.orders);
      const fields = { 'messaging.system': 'bullmq' };
      const spans = resumeSpans(tracing, all, { kind: 'producer', name: 'enqueue', fields });
      const traced = spans === null ? batches : batches.map((batch) => continued(batch, spans));
      const time = (ms: number) => timeBatch('enqueue', ms, all.length);
      return measured(spans, time, () => queue.add(traced, ordersPerJob));
    },
  };
}

/** The jobs of sampled orders continue these spans. */
function continued(batch: OrderBatch, spans: SpanGroup): OrderBatch {
  const orders = batch.orders.map((order) => ({ ...order, traceparent: spans.traceparentOf(order.id) }));
  return { ...batch, orders };
}
