/**
 * Brings the gate to what the ledger said of orders. A reservation is what the sweep finds: so it ends last, and whoever dies before that
 * leaves an order that is followed again, all of it.
 */
import type { OrderBatch, OrderVerdict } from '@flash-sale/core/orders/order.ts';
import type { OrderStore } from '@flash-sale/core/orders/order-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';

export interface FollowParts {
  readonly gate: Pick<StockGate, 'settle' | 'release' | 'pointKey'>;
  readonly orders: Pick<OrderStore, 'findByKeys'>;
}

/**
 * @param batch with the epoch to tell the gate in, and every order that a verdict is of
 * @throws when ledger or gate cannot be reached; then it is to be done again
 */
export async function followLedger(
  { gate, orders }: FollowParts,
  batch: OrderBatch,
  verdicts: readonly OrderVerdict[],
): Promise<void> {
  const { saleId, epoch } = batch;
  const ids = (status: OrderVerdict['status']): string[] =>
    verdicts.filter((verdict) => verdict.status === status).map((verdict) => verdict.id);
  const rejected = ids('rejected');
  await gate.settle(saleId, epoch, ids('confirmed'));
  if (rejected.length > 0) await restoreKeys({ gate, orders }, batch, new Set(rejected));
  await gate.release(saleId, epoch, rejected);
}

/**
 * I4: Redis had forgotten a key, and gave it to a second order. From now on it leads to the confirmed one again, for whatever reason the
 * second one was rejected.
 */
async function restoreKeys(
  { gate, orders }: FollowParts,
  { saleId, epoch, orders: batch }: OrderBatch,
  rejected: ReadonlySet<string>,
): Promise<void> {
  const keys = batch.flatMap(({ id, buyerId, idempotencyKey }) =>
    rejected.has(id) && idempotencyKey !== null ? [{ buyerId, idempotencyKey }] : [],
  );
  if (keys.length === 0) return;
  for (const first of await orders.findByKeys(saleId, keys)) await gate.pointKey(saleId, epoch, first, first);
}
