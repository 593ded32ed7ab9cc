/**
 * Rejects orders that cannot be confirmed although the ledger answers. The ledger's row comes first
 * and decides, so that a confirmation still running elsewhere cannot win as well. Only then are the
 * units released.
 */
import type { OrderBatch, OrderOutcome, RejectionReason } from '@flash-sale/core/domain/order.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ApplyDependencies, applyOutcomes } from './apply-outcomes.ts';
import { type ConfirmDependencies, reportOutcomes } from './confirm-orders.ts';

export interface RejectDependencies extends ApplyDependencies, Pick<ConfirmDependencies, 'log' | 'count'> {
  readonly orders: ApplyDependencies['orders'] & Pick<OrderStore, 'reject'>;
}

/**
 * @throws if ledger or inventory cannot be reached, or if the ledger refuses even the rejection of
 * an order; such an order keeps its reservation, and the reaper finds it
 */
export async function rejectOrders(
  { inventory, orders, log, count }: RejectDependencies,
  batch: OrderBatch,
  reason: RejectionReason = 'UNCONFIRMABLE',
): Promise<OrderOutcome[]> {
  const outcomes = await orders.reject(batch.saleId, batch.orders, reason);
  reportOutcomes({ log, count }, batch, outcomes);
  await applyOutcomes({ inventory, orders }, batch, outcomes);
  const decided = new Set(outcomes.map((outcome) => outcome.id));
  const refused = batch.orders.filter((order) => !decided.has(order.id));
  if (refused.length > 0)
    throw new Error(`the ledger refuses even to reject ${refused.map((order) => order.id).join(', ')}`);
  return outcomes;
}

export interface UnknownSaleDependencies {
  /** @returns the ledger's id. @throws if Redis may belong to another ledger */
  readonly proveLedger: () => Promise<string>;
  readonly sales: Pick<SaleStore, 'unknownAmong'>;
}

/** @throws if it is not certain that the ledger lacks the sale; as rejectOrders */
export async function rejectOrdersOfUnknownSale(
  dependencies: RejectDependencies & UnknownSaleDependencies,
  batch: OrderBatch,
): Promise<OrderOutcome[]> {
  const unknown = await dependencies.sales.unknownAmong([batch.saleId], await dependencies.proveLedger());
  if (unknown.length === 0) throw new Error(`the ledger has the sale ${batch.saleId} again`);
  return rejectOrders(dependencies, batch, 'LEDGER_UNKNOWN_SALE');
}
