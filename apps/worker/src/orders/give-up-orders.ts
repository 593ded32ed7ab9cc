/**
 * Ends orders that cannot be confirmed although the ledger answers. The ledger is told first: its row decides, so that a
 * confirmation that is still under way somewhere and this one cannot both win. Only then do the units go back.
 */
import type { OrderBatch } from '@flash-sale/core/orders/order.ts';
import type { OrderStore } from '@flash-sale/core/orders/order-store.ts';
import type { Logger } from 'pino';
import { type CountOrder, sayVerdicts } from './confirm-orders.ts';
import { type FollowParts, followLedger } from './follow-ledger.ts';

interface Parts {
  readonly gate: FollowParts['gate'];
  readonly orders: FollowParts['orders'] & Pick<OrderStore, 'reject'>;
  readonly log: Logger;
  readonly count: CountOrder;
}

/**
 * @throws when ledger or gate cannot be reached, or an order cannot even be written as rejected; those stay as they are and the sweep
 * finds them
 */
export async function giveUpOrders({ gate, orders, log, count }: Parts, batch: OrderBatch): Promise<void> {
  const verdicts = await orders.reject(batch.saleId, batch.orders, 'GAVE_UP');
  sayVerdicts({ log, count }, batch, verdicts);
  await followLedger({ gate, orders }, batch, verdicts);
  const ended = new Set(verdicts.map((verdict) => verdict.id));
  const left = batch.orders.filter((order) => !ended.has(order.id));
  if (left.length > 0)
    throw new Error(`the ledger refuses even a rejection of ${left.map((order) => order.id).join(', ')}`);
}
