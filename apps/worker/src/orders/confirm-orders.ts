/**
 * Confirms a batch of accepted orders.
 *   1. The ledger decides each order, for good: confirmed or rejected. If it does not know the
 *      sale, all are rejected, once it is proven to be the ledger of this Redis.
 *   2. The inventory applies the outcomes (apply-outcomes.ts).
 * After a crash between the two the batch is confirmed again: that changes nothing in the ledger
 * and repairs the inventory.
 */
import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { type Confirmation, type OrderStore, UnknownSaleError } from '@flash-sale/core/ledger/order-store.ts';
import { writeLines } from '@flash-sale/core/runtime/logging.ts';
import { traceIdOf } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { Logger } from 'pino';
import { type ApplyDependencies, applyOutcomes } from './apply-outcomes.ts';

export interface ConfirmDependencies {
  readonly inventory: ApplyDependencies['inventory'] & Pick<Inventory, 'readmit'>;
  readonly orders: ApplyDependencies['orders'] & Pick<OrderStore, 'confirm'>;
  /** For a sale that the ledger does not know (rejectOrdersOfUnknownSale). */
  readonly rejectUnknown: (batch: OrderBatch) => Promise<OrderOutcome[]>;
  readonly log: Logger;
  /** Called once for each order that the ledger decides. */
  readonly count: CountOrder;
}

type CountOrder = (status: OrderOutcome['status']) => void;

/** @throws if ledger or inventory cannot be reached: confirm the whole batch again */
export async function confirmOrders(
  { inventory, orders, rejectUnknown, log, count }: ConfirmDependencies,
  batch: OrderBatch,
): Promise<OrderOutcome[]> {
  let confirmation: Confirmation;
  try {
    confirmation = await orders.confirm(batch, inventory.readmit);
  } catch (error) {
    if (error instanceof UnknownSaleError) return rejectUnknown(batch);
    throw error;
  }
  const { outcomes, epoch } = confirmation;
  reportOutcomes({ log, count }, batch, outcomes);
  await applyOutcomes({ inventory, orders }, { ...batch, epoch }, outcomes);
  return outcomes;
}

/**
 * Counts and logs each order that the ledger decided in this call. Called before the outcomes are
 * applied: if that fails and the batch is confirmed again, none of its outcomes is fresh any more.
 */
export function reportOutcomes(
  { log, count }: Pick<ConfirmDependencies, 'log' | 'count'>,
  batch: OrderBatch,
  outcomes: readonly OrderOutcome[],
): void {
  const fresh = outcomes.filter((outcome) => outcome.fresh);
  const byId = new Map(fresh.length > 0 ? batch.orders.map((order) => [order.id, order]) : []);
  const line = ({ id }: OrderOutcome) => {
    const order = byId.get(id);
    const trace_id = traceIdOf(order?.traceparent);
    return { order_id: id, sale_id: batch.saleId, reqId: order?.requestId, trace_id };
  };
  if (log.isLevelEnabled('info')) {
    writeLines(log, 'order confirmed', fresh.filter((outcome) => outcome.status === 'confirmed').map(line));
  }
  for (const outcome of fresh) {
    count(outcome.status);
    if (outcome.status === 'rejected') log.warn({ ...line(outcome), reason: outcome.reason }, 'order rejected');
  }
}
