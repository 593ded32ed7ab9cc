/**
 * Hands accepted orders to the queue, off the reply's path: one add in flight, the next one carries what came meanwhile, and
 * what came within ENQUEUE_PACE_MS of the last one.
 * The reservation is the outbox: whatever is lost here (a crash, a failed add, an unknown outcome) the worker's reaper finds
 * there and hands over again. So nothing is tried twice here, and nothing is given back.
 */
import { ENQUEUE_PACE_MS } from '@flash-sale/core/config/limits.ts';
import type { AcceptedOrder, OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import type { TraceSpan } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { FastifyBaseLogger } from 'fastify';

export type Enqueue = ReturnType<typeof createEnqueue>;

export function createEnqueue(parts: {
  queue: Pick<OrderQueue, 'add'>;
  log: FastifyBaseLogger;
  /** Told of each add. */
  time: TimeBatch;
}) {
  const { queue, log, time } = parts;
  let waiting = new Map<string, { epoch: number; orders: AcceptedOrder[] }>();
  /** When the first of them came, ms of performance.now(). */
  let waitingSince = 0;
  let waitingSpans: TraceSpan[] = [];
  let running: Promise<void> | null = null;
  let lastAddAt = Number.NEGATIVE_INFINITY;
  let draining = false;

  async function run(): Promise<void> {
    while (waiting.size > 0) {
      const early = lastAddAt + ENQUEUE_PACE_MS - performance.now();
      if (early > 0 && !draining) await new Promise((resolve) => setTimeout(resolve, early));
      lastAddAt = performance.now();
      const batches: OrderBatch[] = [...waiting].map(([saleId, batch]) => ({ saleId, ...batch }));
      const orders = batches.reduce((sum, batch) => sum + batch.orders.length, 0);
      const since = waitingSince;
      const spans = waitingSpans;
      waiting = new Map();
      waitingSpans = [];
      try {
        await queue.add(batches);
      } catch (error) {
        for (const span of spans) span.fail((error as Error).message);
        log.warn(
          { err: (error as Error).message, orders },
          'the queue did not take orders in time; the reaper hands them over',
        );
      }
      time('enqueue', performance.now() - since, orders);
      for (const span of spans) span.end();
    }
    running = null;
  }

  return {
    /**
     * @param epoch of the inventory that accepted them
     * @param spans of those that are sampled; they end with the add
     */
    push(saleId: string, epoch: number, orders: readonly AcceptedOrder[], spans: readonly TraceSpan[]): void {
      if (waiting.size === 0) waitingSince = performance.now();
      for (const span of spans) waitingSpans.push(span);
      const batch = waiting.get(saleId);
      if (batch) {
        batch.epoch = Math.min(batch.epoch, epoch);
        for (const order of orders) batch.orders.push(order);
      } else waiting.set(saleId, { epoch, orders: [...orders] });
      // The run begins in a turn of its own, so that the reply goes out first.
      running ??= new Promise((resolve) => setImmediate(resolve)).then(run);
    },

    /** Resolves when everything that was pushed is in the queue, or left to the reaper. */
    async drain(): Promise<void> {
      draining = true;
      while (running) await running;
    },
  };
}
