/**
 * Finishes what an operator began and a crash left half done: inventories that were never made, windows and pauses that did not
 * reach the inventory, changes of stock between ledger and inventory.
 */
import { STOCK_CHANGE_REPAIR_MS } from '@flash-sale/core/config/limits.ts';
import type { StockChange } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import type { LedgerSale, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { Logger } from 'pino';

export function createSaleSync(parts: { inventory: Inventory; sales: SaleStore; log: Logger }) {
  const { inventory, sales, log } = parts;
  async function syncOneSale(sale: LedgerSale): Promise<void> {
    if (sale.inventoryVersion === 0) log.info({ sale_id: sale.id }, 'the inventory of a new sale is made');
    // An inventory that is closed is rebuilt by the watch, and is carried to in a later turn.
    await syncSale({ inventory, sales }, sale);
  }

  async function finishChange(change: StockChange): Promise<void> {
    const decided = await syncStockChange({ inventory, sales }, change);
    if (!decided) return;
    log.warn({ sale_id: change.saleId, delta: change.delta, decided: decided.word }, 'a change of stock was finished');
  }

  return {
    /** One turn. One sale that cannot be repaired keeps no other from it. @throws the first fault, at the end */
    async runOnce(): Promise<void> {
      const faults: unknown[] = [];
      const note = (fault: unknown): void => void faults.push(fault);
      for (const sale of await sales.listToSync()) await syncOneSale(sale).catch(note);
      for (const change of await sales.listUnfinishedStockChanges(STOCK_CHANGE_REPAIR_MS))
        await finishChange(change).catch(note);
      if (faults.length > 0) throw faults[0];
    },
  };
}
