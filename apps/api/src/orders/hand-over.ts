/**
 * Hands accepted orders to the queue, off the reply's path: one add in flight, the next one carries what came meanwhile.
 * The reservation is the outbox: whatever is lost here (a crash, a failed add, an unknown outcome) the worker's sweep finds
 * there and hands over again. So nothing is tried twice here, and nothing is given back.
 */
import type { AcceptedOrder } from '@flash-sale/core/orders/order.ts';
import type { OrderBatch, OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { FastifyBaseLogger } from 'fastify';

export type HandOver = ReturnType<typeof createHandOver>;

export function createHandOver({ queue, log }: { queue: Pick<OrderQueue, 'add'>; log: FastifyBaseLogger }) {
  let waiting = new Map<string, AcceptedOrder[]>();
  let running: Promise<void> | null = null;

  async function run(): Promise<void> {
    while (waiting.size > 0) {
      const batches: OrderBatch[] = [...waiting].map(([saleId, orders]) => ({ saleId, orders }));
      waiting = new Map();
      try {
        await queue.add(batches);
      } catch (error) {
        const orders = batches.reduce((sum, batch) => sum + batch.orders.length, 0);
        log.warn(
          { err: (error as Error).message, orders },
          'the queue did not take orders in time; the sweep hands them over',
        );
      }
    }
    running = null;
  }

  return {
    push(saleId: string, order: AcceptedOrder): void {
      const orders = waiting.get(saleId);
      if (orders) orders.push(order);
      else waiting.set(saleId, [order]);
      // The run begins in a turn of its own, so that the reply goes out first.
      running ??= new Promise((resolve) => setImmediate(resolve)).then(run);
    },

    /** Resolves when everything that was pushed is in the queue, or left to the sweep. */
    async drain(): Promise<void> {
      while (running) await running;
    },
  };
}
