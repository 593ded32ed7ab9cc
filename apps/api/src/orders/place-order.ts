/**
 * Decides one order.
 *   1. It gets its id.
 *   2. The admission desk asks limits and gate, together with what else arrived in this turn.
 *   3. Accepted: it is handed over to the queue. Refused: the outcome says why.
 */
import { nothingHappenedInRedis } from '@flash-sale/core/faults.ts';
import { ACCEPTED, acceptedFields } from '@flash-sale/core/orders/accepted-log.ts';
import { newOrderId } from '@flash-sale/core/orders/order.ts';
import { step } from '@flash-sale/core/steps.ts';
import type { FastifyBaseLogger } from 'fastify';
import type { SaleReader } from '../sales/read-sales.ts';
import { type Admission, type AdmissionDesk, NothingReservedError } from './admission-desk.ts';
import type { HandOver } from './hand-over.ts';

export interface PlaceOrder {
  readonly saleId: string;
  readonly buyerId: string;
  /** Units. */
  readonly quantity: number;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
}

export type PlaceOrderOutcome =
  | { readonly kind: 'decided'; readonly orderId: string; readonly admission: Admission }
  | { readonly kind: 'no_such_sale' }
  /** The gate is closed: Redis was restarted or lost it, and a worker makes it anew; or it is not opened yet. */
  | { readonly kind: 'recovering' }
  /** The question never left this process, or Redis refused to look at it: nothing was taken. */
  | { readonly kind: 'gate_away' }
  /** The question was sent and no answer came: the order may hold units, and then it will be confirmed. */
  | { readonly kind: 'unknown'; readonly orderId: string };

export function createPlaceOrder(parts: {
  desk: AdmissionDesk;
  handOver: HandOver;
  sales: Pick<SaleReader, 'find'>;
  log: FastifyBaseLogger;
}) {
  const { desk, handOver, sales, log } = parts;

  return async function placeOrder(wanted: PlaceOrder): Promise<PlaceOrderOutcome> {
    const { saleId, buyerId, quantity, requestId, idempotencyKey } = wanted;
    const orderId = newOrderId(saleId);
    step('receive-order', 'begins');
    let admission: Admission;
    try {
      admission = await desk.admit(saleId, { orderId, buyerId, quantity, requestId, idempotencyKey });
    } catch (error) {
      if (error instanceof NothingReservedError || nothingHappenedInRedis(error)) return { kind: 'gate_away' };
      log.warn(
        { order_id: orderId, reqId: requestId, err: (error as Error).message },
        'the gate did not answer an order',
      );
      return { kind: 'unknown', orderId };
    }
    const { outcome } = admission;
    if (outcome.word === 'reserved') {
      const order = { id: orderId, buyerId, quantity, requestId, idempotencyKey, reservedAt: outcome.reservedAt };
      handOver.push(saleId, outcome.epoch, order);
      log.info(acceptedFields(saleId, order), ACCEPTED);
      step('receive-order', 'done');
    } else if (outcome.word === 'recovering') {
      return { kind: 'recovering' };
    } else if (outcome.word === 'unknown_sale') {
      return (await sales.find(saleId)) ? { kind: 'recovering' } : { kind: 'no_such_sale' };
    }
    return { kind: 'decided', orderId, admission };
  };
}
