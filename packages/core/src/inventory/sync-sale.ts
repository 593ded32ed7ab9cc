/**
 * Brings an operator's change from the ledger into the inventory. The API does it with the request;
 * the worker's loop repeats it for what a crash left unfinished. Every step is idempotent.
 */

import type { Sale, StockChange, StockDecision } from '../domain/sale.ts';
import type { Inventory } from './inventory.ts';

interface Stores {
  readonly inventory: Pick<Inventory, 'create' | 'configure' | 'adjust'>;
  /** The ledger's sales (ledger/sale-store.ts). */
  readonly sales: {
    claimOpening(saleId: string): Promise<Sale | null>;
    markSynced(saleId: string, version: number): Promise<void>;
    finishStockChange(change: StockChange, decision: StockDecision): Promise<boolean>;
  };
}

/**
 * Creates the inventory of a new sale, or updates its window and pause.
 *
 * @returns false if the inventory is closed or lost: a worker rebuilds it, and the sale must be
 * synced again
 */
export async function syncSale({ inventory, sales }: Stores, sale: Sale): Promise<boolean> {
  if (sale.inventoryVersion === 0) {
    const claimed = await sales.claimOpening(sale.id);
    if (claimed) await inventory.create(claimed);
  }
  const reached = await inventory.configure(sale);
  if (reached && sale.inventoryVersion < sale.version) await sales.markSynced(sale.id, sale.version);
  return reached;
}

/**
 * @returns the inventory's decision; null if the inventory is closed or was rebuilt meanwhile: ask
 * again
 */
export async function syncStockChange(
  { inventory, sales }: Stores,
  change: StockChange,
): Promise<{ kind: 'applied' | 'refused'; available: number } | null> {
  const decided = await inventory.adjust(change.saleId, change.id, change.delta);
  if (decided.kind === 'recovering') return null;
  const finished = await sales.finishStockChange(change, decided);
  return finished ? decided : null;
}
