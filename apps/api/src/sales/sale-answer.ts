/** The answer to a read of sales as it is sent: made once, sent many times. */
import { createHash } from 'node:crypto';
import { type Sale, type StockNumbers, saleState } from '@flash-sale/core/domain/sale.ts';
import type { SaleListBody, SaleReadBody, SaleView } from './sale-contract.ts';

export interface SaleAnswer {
  /** JSON. */
  readonly body: string;
  /** Strong: it is that of these very bytes, `server_time` among them, so that no 304 makes an old clock last. */
  readonly etag: string;
  /** When the oldest number in it was asked for, in milliseconds of performance.now(). */
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
