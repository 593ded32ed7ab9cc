/**
 * Brings the inventory in line with what the ledger decided: confirmed orders are committed,
 * rejected ones give their units back. The reservation is deleted last, so that the reaper finds it
 * and repeats all of this after a crash.
 */
import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';

export interface ApplyDependencies {
  readonly inventory: Pick<Inventory, 'commit' | 'release' | 'pointKey'>;
  readonly orders: Pick<OrderStore, 'findByKeys'>;
}

/**
 * @param batch with the inventory's epoch, and with every order that has an outcome
 * @throws if ledger or inventory cannot be reached; then it is to be done again
 */
export async function applyOutcomes(
  dependencies: ApplyDependencies,
  batch: OrderBatch,
  outcomes: readonly OrderOutcome[],
): Promise<void> {
  const { inventory } = dependencies;
  const { saleId, epoch } = batch;
  const ids = (status: OrderOutcome['status']): string[] =>
    outcomes.filter((outcome) => outcome.status === status).map((outcome) => outcome.id);
  const rejected = ids('rejected');
  await inventory.commit(saleId, epoch, ids('confirmed'));
  if (rejected.length > 0) await restoreKeys(dependencies, batch, new Set(rejected));
  await inventory.release(saleId, epoch, rejected);
}

/**
 * I4: Redis may have lost an idempotency key and accepted a second order under it. If the ledger
 * has a confirmed order under the key of a rejected one, the key leads to the confirmed order
 * again.
 */
async function restoreKeys(
  { inventory, orders }: ApplyDependencies,
  { saleId, epoch, orders: batch }: OrderBatch,
  rejected: ReadonlySet<string>,
): Promise<void> {
  const keys = batch.flatMap(({ id, buyerId, idempotencyKey }) =>
    rejected.has(id) && idempotencyKey !== null ? [{ buyerId, idempotencyKey }] : [],
  );
  if (keys.length === 0) return;
  for (const first of await orders.findByKeys(saleId, keys)) await inventory.pointKey(saleId, epoch, first, first);
}
