/**
 * Lets a loop visit a bounded number of sales in each run, so that an idle worker costs the same
 * with 10,000 sales as with 500.
 */
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleFilter, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';

/** Sales in a page: 500 checks of inventories take 20 ms. */
const PAGE_MAX = 500;

export type SalePages = ReturnType<typeof createSalePages>;

export function createSalePages(sales: Pick<SaleStore, 'list'>, size = PAGE_MAX) {
  let after = '';
  return {
    /** The next sales by id; after the last ones it begins again. */
    async next(filter: SaleFilter): Promise<LedgerSale[]> {
      const found = await sales.list({ ...filter, after, limit: size });
      after = found.length < size ? '' : (found.at(-1) as LedgerSale).id;
      return found;
    },

    isAtStart: (): boolean => after === '',
  };
}
