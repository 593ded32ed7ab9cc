/**
 * Stops sales that Redis has and the ledger has not: somebody deleted them, or the ledger was
 * restored from a backup before them. Nobody could confirm their orders.
 */
import type { OrderBatch, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { InventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { Logger } from 'pino';
import { reportOutcomes } from '../orders/confirm-orders.ts';

export interface StopDependencies {
  readonly inventory: Pick<Inventory, 'check' | 'list'>;
  readonly rebuild: Pick<InventoryRebuild, 'close' | 'reservations' | 'drop'>;
  readonly orders: Pick<OrderStore, 'reject'>;
  readonly sales: Pick<SaleStore, 'unknownAmong'>;
  /** @throws if Redis may belong to another ledger */
  readonly proveLedger: () => Promise<void>;
  readonly log: Logger;
  /** Called once for each order that is rejected. */
  readonly count: (status: OrderOutcome['status']) => void;
}

/**
 * Rejects the orders of a batch, closes the inventory, and rejects the orders that it still has.
 *
 * @returns outcomes of the batch
 * @throws if ledger or Redis cannot be reached, or if it is not proven that they belong together
 */
export async function stopUnknownSale(
  dependencies: StopDependencies,
  { saleId, epoch: batchEpoch, orders: batch }: OrderBatch,
): Promise<OrderOutcome[]> {
  const { inventory, rebuild, proveLedger, log } = dependencies;
  await proveLedger();
  const outcomes = await reject(dependencies, { saleId, epoch: batchEpoch, orders: batch });
  const { condition, epoch } = await inventory.check(saleId, 0);
  if (condition === 'missing') return outcomes;
  const ownEpoch = condition === 'closed' ? epoch : epoch + 1;
  await rebuild.close(saleId, ownEpoch);
  if (condition !== 'closed') log.error({ sale_id: saleId }, 'the ledger does not know this sale: it is stopped');
  for await (const { orders } of rebuild.reservations(saleId)) {
    const ended = await reject(dependencies, { saleId, epoch, orders });
    const ids = ended.map(({ id }) => id);
    await rebuild.drop(saleId, ownEpoch, ids);
  }
  return outcomes;
}

async function reject({ orders, log, count }: StopDependencies, batch: OrderBatch): Promise<OrderOutcome[]> {
  if (batch.orders.length === 0) return [];
  const outcomes = await orders.reject(batch.saleId, batch.orders, 'LEDGER_UNKNOWN_SALE');
  reportOutcomes({ log, count }, batch, outcomes);
  return outcomes;
}

/** Those that have an inventory. A sale is in the ledger before it has one. */
export async function stopUnknownSales(dependencies: StopDependencies): Promise<void> {
  const inRedis = await dependencies.inventory.list();
  for (const saleId of await dependencies.sales.unknownAmong([...inRedis]))
    await stopUnknownSale(dependencies, { saleId, epoch: 0, orders: [] });
}
