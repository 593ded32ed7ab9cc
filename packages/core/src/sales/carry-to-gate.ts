/**
 * Brings what the ledger says of a sale into the gate. The API does it as an operator asks; the worker's repair loop does
 * it again for whatever a crash left half done. Every step may be repeated.
 */
import type { StockGate } from '../stock/stock-gate.ts';
import type { Sale, StockChange } from './sale.ts';
import type { SaleStore } from './sale-store.ts';

interface Parts {
  readonly gate: Pick<StockGate, 'open' | 'configure' | 'adjust'>;
  readonly sales: Pick<SaleStore, 'markCarried' | 'claimOpening' | 'finishStockChange'>;
}

/**
 * Makes the gate of a new sale, or brings its window and pause up to date.
 *
 * @returns false where the gate is closed or was lost: a worker makes it anew from the ledger, and then this is done again
 */
export async function carrySale({ gate, sales }: Parts, sale: Sale): Promise<boolean> {
  if (sale.gateVersion === 0) {
    const claimed = await sales.claimOpening(sale.id);
    if (claimed) await gate.open(claimed);
  }
  const reached = await gate.configure(sale);
  if (reached && sale.gateVersion < sale.version) await sales.markCarried(sale.id, sale.version);
  return reached;
}

/** @returns the gate's decision, or null where the gate is closed, or is another one by now: then it is to be asked again */
export async function carryStockChange(
  { gate, sales }: Parts,
  change: StockChange,
): Promise<{ word: 'applied' | 'refused'; available: number } | null> {
  const decided = await gate.adjust(change.saleId, change.id, change.delta);
  if (decided.word === 'recovering') return null;
  const finished = await sales.finishStockChange(change, decided);
  return finished ? decided : null;
}
