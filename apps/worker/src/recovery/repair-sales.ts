/**
 * Finishes what an operator began and a crash left half done: gates that were never made, windows and pauses that did not
 * reach the gate, changes of stock between ledger and gate.
 */
import { STOCK_CHANGE_REPAIR_MS } from '@flash-sale/core/limits.ts';
import { carrySale, carryStockChange } from '@flash-sale/core/sales/carry-to-gate.ts';
import type { SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { Logger } from 'pino';

export function createSaleRepair(parts: { gate: StockGate; sales: SaleStore; log: Logger }) {
  const { gate, sales, log } = parts;
  // Said once for each sale, not every turn.
  const lost = new Set<string>();

  return {
    /** One turn. @throws when ledger or gate cannot be reached */
    async runOnce(): Promise<void> {
      for (const sale of await sales.listToCarry()) {
        if (sale.gateVersion === 0) log.info({ sale_id: sale.id }, 'the gate of a new sale is made');
        if (await carrySale({ gate, sales }, sale)) lost.delete(sale.id);
        else if (!lost.has(sale.id)) {
          lost.add(sale.id);
          log.error(
            { sale_id: sale.id },
            'redis has lost the gate of this sale: its orders are refused, nothing is made up',
          );
        }
      }
      for (const change of await sales.listUnfinishedStockChanges(STOCK_CHANGE_REPAIR_MS)) {
        const decided = await carryStockChange({ gate, sales }, change);
        if (decided)
          log.warn(
            { sale_id: change.saleId, delta: change.delta, decided: decided.word },
            'a change of stock was finished',
          );
      }
    },
  };
}
