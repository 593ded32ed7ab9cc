/**
 * Decides one order.
 *   1. It gets its id.
 *   2. The reserve batcher asks limits and inventory, together with what else arrived in this turn.
 *   3. Those of the batch that got units are written down and enqueued together (`createAcceptance`). Refused: the outcome says why.
 */

import { type AcceptedOrder, newOrderId } from '@flash-sale/core/domain/order.ts';
import { ACCEPTED, acceptedFields } from '@flash-sale/core/runtime/accepted-log.ts';
import { nothingHappenedInRedis } from '@flash-sale/core/runtime/errors.ts';
import { failpoint } from '@flash-sale/core/runtime/failpoints.ts';
import { writeLines } from '@flash-sale/core/runtime/logging.ts';
import type { TraceSpan } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { Logger } from 'pino';
import type { SaleReader } from '../sales/read-sales.ts';
import type { Enqueue } from './enqueue-orders.ts';
import { type Admission, type DecidedBatch, NothingReservedError, type ReserveBatcher } from './reserve-batcher.ts';

export interface PlaceOrder {
  readonly saleId: string;
  readonly buyerId: string;
  /** Units. */
  readonly quantity: number;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** null where it is not sampled. */
  readonly trace: TraceSpan | null;
}

export type PlaceOrderOutcome =
  | { readonly kind: 'decided'; readonly orderId: string; readonly admission: Admission }
  | { readonly kind: 'no_such_sale' }
  /** The inventory is closed: Redis was restarted or lost it, and a worker rebuilds it; or it is not opened yet. */
  | { readonly kind: 'recovering' }
  /** The question never left this process, or Redis refused to look at it: nothing was taken. */
  | { readonly kind: 'inventory_unavailable' }
  /** The question was sent and no answer came: the order may hold units, and then it will be confirmed. */
  | { readonly kind: 'unknown'; readonly orderId: string };

/** What becomes of the orders of a batch that got units, before any of them is answered: a line in the log each, and the enqueue. */
export function createAcceptance({ enqueue, log }: { enqueue: Enqueue; log: Logger }) {
  return function accept({ saleId, requests, decisions }: DecidedBatch): void {
    const orders: AcceptedOrder[] = [];
    const spans: TraceSpan[] = [];
    let epoch = 0;
    for (let i = 0; i < requests.length; i++) {
      const outcome = decisions[i]?.outcome;
      if (outcome?.word !== 'reserved') continue;
      const request = requests[i] as DecidedBatch['requests'][0];
      const { orderId: id, buyerId, quantity, requestId, idempotencyKey } = request;
      const span = request.trace?.begin('producer', 'hand over to the queue', { 'messaging.system': 'bullmq' });
      if (span) spans.push(span);
      const { reservedAt } = outcome;
      orders.push({ id, buyerId, quantity, requestId, idempotencyKey, reservedAt, traceparent: span?.traceparent });
      epoch = outcome.epoch;
    }
    if (orders.length === 0) return;
    enqueue.push(saleId, epoch, orders, spans);
    writeLines(
      log,
      ACCEPTED,
      orders.map((order) => acceptedFields(saleId, order)),
    );
    failpoint('receive-order', 'done');
  };
}

/** @param parts.count of what the buyer is told */
export function createPlaceOrder(parts: {
  batcher: ReserveBatcher;
  sales: Pick<SaleReader, 'find'>;
  count: (outcome: 'accepted' | 'replayed' | 'unknown') => void;
  log: Logger;
}) {
  const { batcher, sales, count, log } = parts;

  return function placeOrder(wanted: PlaceOrder): Promise<PlaceOrderOutcome> {
    const { saleId, buyerId, quantity, requestId, idempotencyKey, trace } = wanted;
    const orderId = newOrderId(saleId);
    trace?.note({ 'flash_sale.order_id': orderId });
    failpoint('receive-order', 'begins');

    function decided(admission: Admission): PlaceOrderOutcome | Promise<PlaceOrderOutcome> {
      const { outcome } = admission;
      const { word } = outcome;
      if (word === 'recovering') return { kind: 'recovering' };
      if (word === 'unknown_sale') return findOut();
      if (word === 'reserved') count('accepted');
      else if (word === 'replayed') count('replayed');
      if (word === 'replayed') trace?.note({ 'flash_sale.order_id': outcome.orderId, 'flash_sale.replayed': 1 });
      return { kind: 'decided', orderId, admission };
    }
    /** There is no inventory of it: it may be a sale whose inventory is being made. */
    async function findOut(): Promise<PlaceOrderOutcome> {
      return { kind: (await sales.find(saleId)) ? 'recovering' : 'no_such_sale' };
    }
    function failed(error: unknown): PlaceOrderOutcome {
      if (error instanceof NothingReservedError || nothingHappenedInRedis(error))
        return { kind: 'inventory_unavailable' };
      count('unknown');
      log.warn(
        { order_id: orderId, reqId: requestId, err: (error as Error).message },
        'the inventory did not answer an order',
      );
      return { kind: 'unknown', orderId };
    }
    return batcher
      .admit(saleId, { orderId, buyerId, quantity, requestId, idempotencyKey, trace })
      .then(decided, failed);
  };
}
