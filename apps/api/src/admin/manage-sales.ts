/**
 * What an operator does to a sale. The ledger is changed first and the inventory follows; a crash between the two is mended by
 * the worker's repair loop. Only the withdrawal of units asks the inventory first, for only the inventory knows what is promised.
 */

import { ADMIN_LIST_MAX, MAX_ALLOTMENT } from '@flash-sale/core/config/limits.ts';
import type { Sale, StockNumbers } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { NewSale, Operator, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { SaleReader } from '../sales/read-sales.ts';

/** A sale as ledger and inventory have it; `now` is Redis' clock in ms since 1970. */
export interface SaleNumbers {
  readonly sale: LedgerSale;
  readonly numbers: StockNumbers;
  readonly now: number;
}

export type Managed = SaleNumbers | 'no_such_sale' | 'recovering';

export function createManageSales(parts: {
  inventory: Inventory;
  sales: SaleStore;
  saleReader: Pick<SaleReader, 'forget'>;
}) {
  const { inventory, sales, saleReader } = parts;

  async function read(saleId: string): Promise<Managed> {
    const sale = await sales.find(saleId);
    if (!sale) return 'no_such_sale';
    const { now, numbers } = await inventory.read(saleId);
    return numbers ? { sale, numbers, now } : 'recovering';
  }

  async function carry(sale: Sale | null): Promise<Managed> {
    if (!sale) return 'no_such_sale';
    const carried = await syncSale({ inventory, sales }, sale);
    await saleReader.forget(sale.id);
    return carried ? read(sale.id) : 'recovering';
  }

  return {
    read,

    /** The newest, by the ledger alone: a list must not ask the inventory for each. */
    list: (): Promise<LedgerSale[]> => sales.list({ order: 'newest first', limit: ADMIN_LIST_MAX }),

    async create(sale: NewSale, operator: Operator): Promise<Managed | 'exists'> {
      const made = await sales.create(sale, operator);
      return made ? carry(made) : 'exists';
    },

    async pause(saleId: string, operator: Operator): Promise<Managed> {
      return carry(await sales.setPaused(saleId, true, operator));
    },

    async resume(saleId: string, operator: Operator): Promise<Managed> {
      return carry(await sales.setPaused(saleId, false, operator));
    },

    async changeWindow(saleId: string, startsAt: number, endsAt: number, operator: Operator): Promise<Managed> {
      return carry(await sales.changeWindow(saleId, startsAt, endsAt, operator));
    },

    /**
     * The change's id names it: asked for again with the same id, it is carried out once.
     *
     * @returns 'pending' where it is written down and the inventory has not answered; the repair loop carries it out
     */
    async changeStock(
      change: { id: string; saleId: string; delta: number; reason: string },
      operator: Operator,
    ): Promise<Managed | 'other_change' | 'too_many' | 'pending' | { refused: true; available: number }> {
      const begun = await sales.beginStockChange(change, MAX_ALLOTMENT, operator);
      if (begun === 'inventory_closed') return 'recovering';
      if (begun === null) return 'no_such_sale';
      if (typeof begun === 'string') return begun;
      // Decided before: the inventory is not asked again, for it may have forgotten.
      if (begun.state !== 'pending') {
        const found = await read(change.saleId);
        if (begun.state === 'applied' || typeof found === 'string') return found;
        return { refused: true, available: found.numbers.available };
      }
      // From here on it is written down: whatever fails, it will be carried out, and must not be asked for anew.
      let decided: Awaited<ReturnType<typeof syncStockChange>>;
      try {
        decided = await syncStockChange({ inventory, sales }, begun);
        await saleReader.forget(change.saleId);
      } catch (error) {
        if (unavailableDependency(error) === null) throw error;
        return 'pending';
      }
      if (!decided) return 'pending';
      return decided.word === 'refused' ? { refused: true, available: decided.available } : read(change.saleId);
    },
  };
}
