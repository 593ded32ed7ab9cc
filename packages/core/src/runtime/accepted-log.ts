/**
 * The accepted-order log: the line "order accepted" that the API writes for each order it accepts.
 * Until the ledger has the order, it is the only record outside of Redis: from it orders are
 * recovered that Redis lost together with its disk.
 */
import { type AcceptedOrder, type RejectionReason, saleIdOf } from '../domain/order.ts';
import { traceIdOf } from './tracing/tracing.ts';

/** Message of the line. */
export const ACCEPTED = 'order accepted';

/** Message of the worker's line for each order that the ledger rejected. */
const REJECTED = 'order rejected';

/** Fields of the line besides its message. */
export function acceptedFields(saleId: string, order: AcceptedOrder) {
  return {
    order_id: order.id,
    sale_id: saleId,
    buyer_id: order.buyerId,
    quantity: order.quantity,
    reserved_at: order.reservedAt,
    idempotency_key: order.idempotencyKey ?? undefined,
    reqId: order.requestId,
    trace_id: traceIdOf(order.traceparent),
  };
}

/** @returns the accepted order, or null for any other line, or one that was cut off */
export function readAccepted(line: string): { saleId: string; order: AcceptedOrder } | null {
  const fields = fieldsOf(line, ACCEPTED);
  if (fields === null) return null;
  const { order_id: id, buyer_id: buyerId, quantity, reserved_at: reservedAt, reqId, idempotency_key } = fields;
  const saleId = typeof id === 'string' ? saleIdOf(id) : null;
  if (saleId === null || typeof buyerId !== 'string') return null;
  if (!Number.isSafeInteger(quantity) || !Number.isSafeInteger(reservedAt)) return null;
  return {
    saleId,
    order: {
      id: id as string,
      buyerId,
      quantity: quantity as number,
      reservedAt: reservedAt as number,
      requestId: String(reqId ?? ''),
      idempotencyKey: typeof idempotency_key === 'string' ? idempotency_key : null,
    },
  };
}

/** @returns the rejected order and why, or null for any other line, or one that was cut off */
export function readRejected(line: string): { id: string; reason: RejectionReason } | null {
  const { order_id: id, reason } = fieldsOf(line, REJECTED) ?? {};
  return typeof id === 'string' && typeof reason === 'string' ? { id, reason: reason as RejectionReason } : null;
}

function fieldsOf(line: string, message: string): Record<string, unknown> | null {
  // Parsing every line would take minutes over the log of a large sale.
  if (!line.includes(`"${message}"`)) return null;
  try {
    // A log collector may have put something before the JSON.
    const fields = JSON.parse(line.slice(line.indexOf('{'))) as Record<string, unknown>;
    return fields.msg === message ? fields : null;
  } catch {
    return null;
  }
}
