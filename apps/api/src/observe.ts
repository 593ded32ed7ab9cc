/** Timing and tracing decorators for inventory and queue; app.ts applies them. */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import type { SpanFields, SpanKind, TraceSpan, Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { ReserveRequest } from './orders/reserve-batcher.ts';

/** Times each call of the reserve script, and creates a span for every sampled order in it. */
export function observeReserve(
  inventory: Pick<Inventory, 'reserve'>,
  { timeBatch, tracing }: { timeBatch: TimeBatch; tracing: Tracing | null },
): Pick<Inventory, 'reserve'> {
  return {
    async reserve(saleId, requests: readonly ReserveRequest[], permits, bucket) {
      const startedAt = performance.now();
      const fields = { 'db.system.name': 'redis', 'flash_sale.batch_size': requests.length };
      const spans = beginSpans(tracing, requests, 'client', 'reserve', fields);
      return during([...spans.values()], () => inventory.reserve(saleId, requests, permits, bucket)).finally(() =>
        timeBatch('reserve', performance.now() - startedAt, requests.length),
      );
    },
  };
}

/**
 * Times each add to the queue, and creates a span for every sampled order, which its job continues.
 */
export function observeAdd(
  queue: Pick<OrderQueue, 'add'>,
  { timeBatch, tracing }: { timeBatch: TimeBatch; tracing: Tracing | null },
): Pick<OrderQueue, 'add'> {
  return {
    async add(batches, ordersPerJob) {
      const startedAt = performance.now();
      const spans: TraceSpan[] = [];
      const traced = batches.map((batch): OrderBatch => {
        const ofBatch = beginSpans(tracing, batch.orders, 'producer', 'enqueue', { 'messaging.system': 'bullmq' });
        if (ofBatch.size === 0) return batch;
        spans.push(...ofBatch.values());
        const orders = batch.orders.map((order, i) => ({ ...order, traceparent: ofBatch.get(i)?.traceparent }));
        return { ...batch, orders };
      });
      const orders = batches.reduce((sum, batch) => sum + batch.orders.length, 0);
      return during(spans, () => queue.add(traced, ordersPerJob)).finally(() =>
        timeBatch('enqueue', performance.now() - startedAt, orders),
      );
    },
  };
}

/** @returns spans of the sampled orders, by index */
function beginSpans(
  tracing: Tracing | null,
  orders: readonly { traceparent?: string | undefined }[],
  kind: SpanKind,
  name: string,
  fields: SpanFields,
): Map<number, TraceSpan> {
  const spans = new Map<number, TraceSpan>();
  if (tracing === null) return spans;
  orders.forEach(({ traceparent }, i) => {
    if (traceparent !== undefined) spans.set(i, tracing.resume(traceparent, kind, name, fields));
  });
  return spans;
}

async function during<Result>(spans: readonly TraceSpan[], work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    for (const span of spans) span.fail((error as Error).message);
    throw error;
  } finally {
    for (const span of spans) span.end();
  }
}
