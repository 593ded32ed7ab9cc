/**
 * Brings the inventory to what the ledger said of orders. A reservation is what the reaper finds: so it ends last, and whoever dies before that
 * leaves an order that is followed again, all of it.
 */
import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';

export interface FollowParts {
  readonly inventory: Pick<Inventory, 'commit' | 'release' | 'pointKey'>;
  readonly orders: Pick<OrderStore, 'findByKeys'>;
}

/**
 * @param batch with the epoch to tell the inventory in, and every order that a outcome is of
 * @throws when ledger or inventory cannot be reached; then it is to be done again
 */
export async function applyOutcomes(
  { inventory, orders }: FollowParts,
  batch: OrderBatch,
  outcomes: readonly OrderOutcome[],
): Promise<void> {
  const { saleId, epoch } = batch;
  const ids = (status: OrderOutcome['status']): string[] =>
    outcomes.filter((outcome) => outcome.status === status).map((outcome) => outcome.id);
  const rejected = ids('rejected');
  await inventory.commit(saleId, epoch, ids('confirmed'));
  if (rejected.length > 0) await restoreKeys({ inventory, orders }, batch, new Set(rejected));
  await inventory.release(saleId, epoch, rejected);
}

/**
 * I4: Redis had forgotten a key, and gave it to a second order. From now on it leads to the confirmed one again, for whatever reason the
 * second one was rejected.
 */
async function restoreKeys(
  { inventory, orders }: FollowParts,
  { saleId, epoch, orders: batch }: OrderBatch,
  rejected: ReadonlySet<string>,
): Promise<void> {
  const keys = batch.flatMap(({ id, buyerId, idempotencyKey }) =>
    rejected.has(id) && idempotencyKey !== null ? [{ buyerId, idempotencyKey }] : [],
  );
  if (keys.length === 0) return;
  for (const first of await orders.findByKeys(saleId, keys)) await inventory.pointKey(saleId, epoch, first, first);
}
