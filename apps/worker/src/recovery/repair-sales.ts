/**
 * Finishes what an operator began and a crash left half done: gates that were never made, windows and pauses that did not
 * reach the gate, changes of stock between ledger and gate.
 */
import { STOCK_CHANGE_REPAIR_MS } from '@flash-sale/core/limits.ts';
import { carrySale, carryStockChange } from '@flash-sale/core/sales/carry-to-gate.ts';
import type { StockChange } from '@flash-sale/core/sales/sale.ts';
import type { LedgerSale, SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { Logger } from 'pino';

export function createSaleRepair(parts: { gate: StockGate; sales: SaleStore; log: Logger }) {
  const { gate, sales, log } = parts;
  async function repairSale(sale: LedgerSale): Promise<void> {
    if (sale.gateVersion === 0) log.info({ sale_id: sale.id }, 'the gate of a new sale is made');
    // A gate that is closed is made anew by the watch, and is carried to in a later turn.
    await carrySale({ gate, sales }, sale);
  }

  async function finishChange(change: StockChange): Promise<void> {
    const decided = await carryStockChange({ gate, sales }, change);
    if (!decided) return;
    log.warn({ sale_id: change.saleId, delta: change.delta, decided: decided.word }, 'a change of stock was finished');
  }

  return {
    /** One turn. One sale that cannot be repaired keeps no other from it. @throws the first fault, at the end */
    async runOnce(): Promise<void> {
      const faults: unknown[] = [];
      const note = (fault: unknown): void => void faults.push(fault);
      for (const sale of await sales.listToCarry()) await repairSale(sale).catch(note);
      for (const change of await sales.listUnfinishedStockChanges(STOCK_CHANGE_REPAIR_MS))
        await finishChange(change).catch(note);
      if (faults.length > 0) throw faults[0];
    },
  };
}
