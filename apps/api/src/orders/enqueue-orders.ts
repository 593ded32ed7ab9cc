/**
 * Adds accepted orders to the queue after their replies. One add runs at a time; the next one has
 * the orders that arrived meanwhile. The reservation is the outbox: the reaper redelivers orders
 * that are lost here (a crash, a failed add, an unknown outcome). So this code neither retries nor
 * releases.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AcceptedOrder, OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { Logger } from 'pino';

/**
 * Milliseconds between two adds of one process. The first order is added at once; later ones share
 * a job, so that an outage of minutes leaves ten jobs a second instead of one per order.
 */
const ENQUEUE_PACE_MS = 100;

export type EnqueueOrders = ReturnType<typeof createEnqueueOrders>;

export function createEnqueueOrders({ queue, log }: { queue: Pick<OrderQueue, 'add'>; log: Logger }) {
  let waiting = new Map<string, { saleId: string; epoch: number; orders: AcceptedOrder[] }>();
  let running: Promise<void> | null = null;
  let lastAddAt = Number.NEGATIVE_INFINITY;
  let draining = false;

  async function addAll(batches: readonly OrderBatch[]): Promise<void> {
    await queue.add(batches).catch((error: Error) => {
      const orders = batches.reduce((sum, batch) => sum + batch.orders.length, 0);
      log.warn({ err: error.message, orders }, 'orders could not be enqueued in time; the reaper redelivers them');
    });
  }

  async function run(): Promise<void> {
    while (waiting.size > 0) {
      const early = lastAddAt + ENQUEUE_PACE_MS - performance.now();
      if (early > 0 && !draining) await sleep(early);
      lastAddAt = performance.now();
      const batches = [...waiting.values()];
      waiting = new Map();
      await addAll(batches);
    }
    running = null;
  }

  /** Resolves after one add of each pushed order; the reaper handles failed adds. */
  async function settled(): Promise<void> {
    while (running) await running;
  }

  return {
    settled,

    /** @param batch its epoch is that of the inventory that accepted the orders */
    push({ saleId, epoch, orders }: OrderBatch): void {
      const batch = waiting.get(saleId);
      if (batch) {
        batch.epoch = Math.min(batch.epoch, epoch);
        batch.orders.push(...orders);
      } else waiting.set(saleId, { saleId, epoch, orders: [...orders] });
      // In the next turn, so that the replies are sent first.
      running ??= new Promise((resolve) => setImmediate(resolve)).then(run);
    },

    /** As settled, without a pause between two adds. */
    drain(): Promise<void> {
      draining = true;
      return settled();
    },
  };
}
