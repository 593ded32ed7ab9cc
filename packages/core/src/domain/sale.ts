/** Sales, as every process sees them. */

/**
 * A sale's id is the product id in URLs: `event` or `event.variant`. Short, because it is part of
 * every key and every order id. No ":" (job ids), no braces (hash tags).
 */
export const SALE_ID_PATTERN = '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\\.[A-Za-z0-9_-]{1,32})?$';

/** Sales of an event share a buyer's token bucket. A sale without a dot is an event of its own. */
export function eventOf(saleId: string): string {
  const dot = saleId.indexOf('.');
  return dot < 0 ? saleId : saleId.slice(0, dot);
}

/**
 * Decimal text with up to 9 digits before the point and 4 after it: exact in the ledger, and as a
 * JSON number.
 */
export const PRICE_PATTERN = '^(0|[1-9][0-9]{0,8})(\\.[0-9]{1,4})?$';

/** A sale in the catalogue (PostgreSQL): everything but the live stock numbers. */
export interface Sale {
  readonly id: string;
  readonly name: string;
  readonly description: string | null;
  /** Exact decimal text, in units of the currency. */
  readonly originalPrice: string;
  /** Exact decimal text, in units of the currency. */
  readonly flashSalePrice: string;
  /** ISO 4217. */
  readonly currency: string;
  /** Units given to the sale: initial + added − withdrawn. */
  readonly allotment: number;
  /** Units that one buyer may hold; 0 = no cap. */
  readonly perBuyerLimit: number;
  /** Milliseconds since 1970, UTC. */
  readonly startsAt: number;
  /** Milliseconds since 1970, UTC; the sale is over from this instant on. */
  readonly endsAt: number;
  readonly paused: boolean;
  /**
   * Raised by every change of window or pause; in the inventory an older one never overwrites a
   * newer one.
   */
  readonly version: number;
  /**
   * Last version synced to the inventory; 0 until its creation starts. After that, a missing
   * inventory is rebuilt.
   */
  readonly inventoryVersion: number;
  /** Of the inventory: raised by each rebuild. */
  readonly epoch: number;
}

/** An operator's change of stock. */
export interface StockChange {
  readonly id: string;
  readonly saleId: string;
  /** Units; negative withdraws. */
  readonly delta: number;
  readonly reason: string;
  readonly state: 'pending' | 'applied' | 'refused';
  readonly actor: string;
  readonly requestId: string;
}

/** What an inventory decided for a change of stock. */
export interface StockDecision {
  readonly kind: 'applied' | 'refused';
  /** Of that inventory: in a later epoch the decision no longer counts. */
  readonly epoch: number;
}

/** A sale's numbers in the inventory, in units. allotment = available + reserved + sold. */
export interface StockNumbers {
  readonly allotment: number;
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
}

export const SALE_STATES = ['scheduled', 'active', 'paused', 'ended'] as const;
export type SaleState = (typeof SALE_STATES)[number];

/** @param now milliseconds since 1970 */
export function saleState(sale: Pick<Sale, 'paused' | 'startsAt' | 'endsAt'>, now: number): SaleState {
  if (now >= sale.endsAt) return 'ended';
  if (sale.paused) return 'paused';
  return now < sale.startsAt ? 'scheduled' : 'active';
}
