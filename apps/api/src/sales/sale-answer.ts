/** Response bodies of sales, serialised once and sent many times. */
import { createHash } from 'node:crypto';
import { type Sale, type StockNumbers, saleState } from '@flash-sale/core/domain/sale.ts';
import type { SaleListBody, SaleReadBody, SaleView } from './sale-contract.ts';

export interface SaleAnswer {
  /** JSON. */
  readonly body: string;
  /** Strong: covers the whole body with `server_time`, so that a 304 never confirms an old time. */
  readonly etag: string;
  /** When the read of its oldest number started: ms of performance.now(). */
  readonly askedAt: number;
}

export function makeAnswer(content: SaleListBody | SaleReadBody, askedAt: number): SaleAnswer {
  const body = JSON.stringify(content);
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`, askedAt };
}

/** @param now Redis's clock, ms since 1970 */
export function viewSale(sale: Sale, numbers: StockNumbers | null, now: number): SaleView {
  const state = saleState(sale, now);
  const soldOut = state === 'active' && numbers?.available === 0;
  return {
    id: sale.id,
    name: sale.name,
    description: sale.description,
    original_price: Number(sale.originalPrice),
    flash_sale_price: Number(sale.flashSalePrice),
    currency: sale.currency,
    starts_at: new Date(sale.startsAt).toISOString(),
    ends_at: new Date(sale.endsAt).toISOString(),
    state: numbers === null ? 'recovering' : soldOut ? 'sold_out' : state,
    remaining: numbers?.available ?? null,
    per_buyer_limit: sale.perBuyerLimit,
  };
}
