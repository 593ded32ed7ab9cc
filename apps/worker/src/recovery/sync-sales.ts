/**
 * Finishes changes by operators that a crash left half done: inventories that were never opened,
 * windows and pauses that did not reach the inventory, stock changes that one side lacks.
 */
import type { StockChange } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { Logger } from 'pino';
import { forEach, RECENT_SALE_MS } from './loop.ts';
import { createSalePages, type SalePages } from './sale-pages.ts';

/** Age in milliseconds from which an unfinished stock change is finished here. */
const STOCK_CHANGE_REPAIR_MS = 5_000;

interface SyncDependencies {
  readonly inventory: Pick<Inventory, 'create' | 'configure' | 'adjust'>;
  readonly sales: SaleStore;
  readonly log: Logger;
}

/** @throws the first error, after all sales and stock changes were tried */
export async function syncSales(
  { inventory, sales, log }: SyncDependencies,
  pages: SalePages = createSalePages(sales),
): Promise<void> {
  async function sync(sale: LedgerSale): Promise<void> {
    if (sale.inventoryVersion === 0) log.info({ sale_id: sale.id }, 'the inventory of a new sale is opened');
    // A closed inventory is rebuilt first (rebuild-inventory.ts), and synced in a later run.
    await syncSale({ inventory, sales }, sale);
  }

  async function finish(change: StockChange): Promise<void> {
    const decided = await syncStockChange({ inventory, sales }, change);
    if (decided)
      log.warn({ sale_id: change.saleId, delta: change.delta, decided: decided.kind }, 'a stock change was finished');
  }

  await forEach(
    [
      async () => forEach(await sales.list({ unsynced: true }), sync),
      // Includes synced sales: a Redis that lost its last second of writes has an older state.
      async () => forEach(await pages.next({ endedWithinMs: RECENT_SALE_MS }), sync),
      async () => forEach(await sales.listUnfinishedStockChanges(STOCK_CHANGE_REPAIR_MS), finish),
    ],
    (step) => step(),
  );
}
