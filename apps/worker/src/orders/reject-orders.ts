/**
 * Ends orders that cannot be confirmed although the ledger answers. The ledger is told first: its row decides, so that a
 * confirmation that is still under way somewhere and this one cannot both win. Only then do the units go back.
 */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { Logger } from 'pino';
import { applyOutcomes, type FollowParts } from './apply-outcomes.ts';
import { type CountOrder, sayOutcomes } from './confirm-orders.ts';

interface Parts {
  readonly inventory: FollowParts['inventory'];
  readonly orders: FollowParts['orders'] & Pick<OrderStore, 'reject'>;
  readonly log: Logger;
  readonly count: CountOrder;
}

/**
 * @throws when ledger or inventory cannot be reached, or an order cannot even be written as rejected; those stay as they are and the reaper
 * finds them
 */
export async function rejectOrders({ inventory, orders, log, count }: Parts, batch: OrderBatch): Promise<void> {
  const outcomes = await orders.reject(batch.saleId, batch.orders, 'UNCONFIRMABLE');
  sayOutcomes({ log, count }, batch, outcomes);
  await applyOutcomes({ inventory, orders }, batch, outcomes);
  const ended = new Set(outcomes.map((outcome) => outcome.id));
  const left = batch.orders.filter((order) => !ended.has(order.id));
  if (left.length > 0)
    throw new Error(`the ledger refuses even a rejection of ${left.map((order) => order.id).join(', ')}`);
}
