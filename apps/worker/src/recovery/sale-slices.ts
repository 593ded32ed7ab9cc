/**
 * Lets a loop visit a bounded number of sales in each run, so that an idle worker costs the same
 * with 10,000 sales as with 500.
 */
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleFilter, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';

/** Sales in a slice: 500 checks of inventories take 20 ms. */
const SLICE_MAX = 500;

export type SaleSlices = ReturnType<typeof createSaleSlices>;

export function createSaleSlices(sales: Pick<SaleStore, 'list'>, size = SLICE_MAX) {
  let after = '';
  return {
    /** The next sales by id; after the last ones it begins again. */
    async next(filter: SaleFilter): Promise<LedgerSale[]> {
      const found = await sales.list({ ...filter, after, limit: size });
      after = found.length < size ? '' : (found.at(-1) as LedgerSale).id;
      return found;
    },

    /** All of them, slice by slice. */
    async *all(filter: SaleFilter): AsyncGenerator<LedgerSale[]> {
      const slices = createSaleSlices(sales, size);
      do yield await slices.next(filter);
      while (!slices.isAtStart());
    },

    isAtStart: (): boolean => after === '',
  };
}
