/** The body of a read of sales: serialised once, sent many times. */
import { createHash } from 'node:crypto';
import { type Sale, type StockNumbers, saleState } from '@flash-sale/core/domain/sale.ts';
import type { SaleListBody, SaleReadBody, SaleView } from './sale-contract.ts';

export interface SaleAnswer {
  /** JSON. */
  readonly body: string;
  /** Strong: of these very bytes, `server_time` included, so that a 304 never keeps an old clock. */
  readonly etag: string;
  /** When its oldest number was asked for: ms of performance.now(). */
  readonly askedAt: number;
}

export function makeAnswer(content: SaleListBody | SaleReadBody, askedAt: number): SaleAnswer {
  const body = JSON.stringify(content);
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`, askedAt };
}

/** @param now milliseconds since 1970 by Redis' clock */
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
