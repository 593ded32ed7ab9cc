/**
 * Operators' changes of a sale. The ledger changes first, the inventory second; the worker's sync
 * loop completes changes that a crash interrupted. A withdrawal of units changes the inventory
 * first, because only the inventory knows which units are free.
 */
import type { Sale, StockNumbers } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale, syncStockChange } from '@flash-sale/core/inventory/sync-sale.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { NewSale, Operator, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { SaleReader } from '../sales/read-sales.ts';

/** Most sales in the operators' list. */
const LIST_MAX = 200;

/** A sale in ledger and inventory; `now` is Redis's clock, ms since 1970. */
export interface SaleNumbers {
  readonly sale: LedgerSale;
  readonly numbers: StockNumbers;
  readonly now: number;
}

export type Managed = SaleNumbers | 'no_such_sale' | 'recovering' | 'too_many_sales';

export function createManageSales(deps: {
  inventory: Inventory;
  sales: SaleStore;
  saleReader: Pick<SaleReader, 'forget' | 'readTime'>;
}) {
  const { inventory, sales, saleReader } = deps;

  async function read(saleId: string): Promise<Managed> {
    const sale = await sales.find(saleId);
    if (!sale) return 'no_such_sale';
    const { now, numbers } = await inventory.read(saleId);
    return numbers ? { sale, numbers, now } : 'recovering';
  }

  async function sync(sale: Sale | null): Promise<Managed> {
    if (!sale) return 'no_such_sale';
    const synced = await syncSale({ inventory, sales }, sale);
    await saleReader.forget(sale.id);
    return synced ? read(sale.id) : 'recovering';
  }

  return {
    read,
    readTime: saleReader.readTime,

    /** The newest sales, from the ledger only. */
    list: (): Promise<LedgerSale[]> => sales.list({ order: 'newest first', limit: LIST_MAX }),

    async create(sale: NewSale, operator: Operator): Promise<Managed | 'exists'> {
      const made = await sales.create(sale, operator);
      if (made) return sync(made);
      return (await sales.find(sale.id)) ? 'exists' : 'too_many_sales';
    },

    async setPaused(saleId: string, paused: boolean, operator: Operator): Promise<Managed> {
      return sync(await sales.setPaused(saleId, paused, operator));
    },

    async changeWindow(saleId: string, startsAt: number, endsAt: number, operator: Operator): Promise<Managed> {
      const sale = await sales.changeWindow(saleId, startsAt, endsAt, operator);
      return sale && sale.endsAt !== endsAt ? 'too_many_sales' : sync(sale);
    },

    /**
     * Idempotent by the change's id.
     *
     * @returns 'pending' if the change is recorded but the inventory did not answer; the sync loop
     * applies it
     */
    async changeStock(
      change: { id: string; saleId: string; delta: number; reason: string },
      operator: Operator,
    ): Promise<Managed | 'other_change' | 'too_many' | 'pending' | { refused: true; available: number }> {
      const begun = await sales.beginStockChange(change, operator);
      if (begun === 'inventory_closed') return 'recovering';
      if (begun === null) return 'no_such_sale';
      if (typeof begun === 'string') return begun;
      // Already decided: the inventory may have lost its record, so it must not decide again.
      if (begun.state !== 'pending') {
        const found = await read(change.saleId);
        if (begun.state === 'applied' || typeof found === 'string') return found;
        return { refused: true, available: found.numbers.available };
      }
      // The change is recorded and will be applied even if this call fails, so a failure is
      // 'pending'.
      let decided: Awaited<ReturnType<typeof syncStockChange>>;
      try {
        decided = await syncStockChange({ inventory, sales }, begun);
        await saleReader.forget(change.saleId);
      } catch (error) {
        if (unavailableDependency(error) === null) throw error;
        return 'pending';
      }
      if (!decided) return 'pending';
      return decided.kind === 'refused' ? { refused: true, available: decided.available } : read(change.saleId);
    },
  };
}
