/**
 * Brings what the ledger says of a sale into the inventory. The API does it as an operator asks; the worker's repair loop does
 * it again for whatever a crash left half done. Every step may be repeated.
 */

import type { Sale, StockChange } from '../domain/sale.ts';
import type { SaleStore } from '../ledger/sale-store.ts';
import type { Inventory } from './inventory.ts';

interface Parts {
  readonly inventory: Pick<Inventory, 'open' | 'configure' | 'adjust'>;
  readonly sales: Pick<SaleStore, 'markSynced' | 'claimOpening' | 'finishStockChange'>;
}

/**
 * Makes the inventory of a new sale, or brings its window and pause up to date.
 *
 * @returns false where the inventory is closed or was lost: a worker rebuilds it from the ledger, and then this is done again
 */
export async function syncSale({ inventory, sales }: Parts, sale: Sale): Promise<boolean> {
  if (sale.inventoryVersion === 0) {
    const claimed = await sales.claimOpening(sale.id);
    if (claimed) await inventory.open(claimed);
  }
  const reached = await inventory.configure(sale);
  if (reached && sale.inventoryVersion < sale.version) await sales.markSynced(sale.id, sale.version);
  return reached;
}

/** @returns the inventory's decision, or null where the inventory is closed, or is another one by now: then it is to be asked again */
export async function syncStockChange(
  { inventory, sales }: Parts,
  change: StockChange,
): Promise<{ word: 'applied' | 'refused'; available: number } | null> {
  const decided = await inventory.adjust(change.saleId, change.id, change.delta);
  if (decided.word === 'recovering') return null;
  const finished = await sales.finishStockChange(change, decided);
  return finished ? decided : null;
}
