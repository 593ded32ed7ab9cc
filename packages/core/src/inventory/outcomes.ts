/** What the scripts' words mean: one place decodes them, and a word that nobody knows throws. */
import type { AcceptedOrder, RejectionReason } from '../domain/order.ts';

/** What the inventory says of one order. Times are milliseconds from now. */
export type ReserveOutcome =
  | { readonly word: 'reserved'; readonly reservedAt: number; readonly available: number; readonly epoch: number }
  /** The key has this order already. */
  | { readonly word: 'replayed'; readonly orderId: string; readonly available: number }
  /** The key has an order of another quantity. */
  | { readonly word: 'key_reused' }
  | { readonly word: 'buyer_limited'; readonly waitMs: number }
  | { readonly word: 'system_limited' }
  | { readonly word: 'not_open'; readonly waitMs: number }
  | { readonly word: 'paused' | 'ended' | 'sold_out' | 'unknown_sale' }
  /** The inventory is closed: Redis has another life, or the inventory is being rebuilt. */
  | { readonly word: 'recovering' }
  /** Too many orders of this sale wait for the ledger. */
  | { readonly word: 'ledger_behind' }
  | { readonly word: 'not_enough_units'; readonly available: number }
  | { readonly word: 'over_buyer_limit'; readonly holds: number };

const words: Readonly<Record<ReserveOutcome['word'], true>> = {
  reserved: true,
  replayed: true,
  key_reused: true,
  buyer_limited: true,
  system_limited: true,
  not_open: true,
  paused: true,
  ended: true,
  sold_out: true,
  unknown_sale: true,
  recovering: true,
  ledger_behind: true,
  not_enough_units: true,
  over_buyer_limit: true,
};

/** Every word that the inventory may say of an order. */
export const reserveWords = Object.keys(words);

export interface ReserveDecision {
  readonly outcome: ReserveOutcome;
  /** Whole tokens that are left in the buyer's bucket; −1 where it was not looked at. */
  readonly tokensLeft: number;
  /** Milliseconds until there is a whole one; 0 where there is. */
  readonly tokenInMs: number;
}

/** What is wrong with an inventory, or nothing. */
export const inventoryConditions = [
  'sound',
  'missing',
  'other_server',
  'closed',
  'behind',
  'ahead',
  'inconsistent',
] as const;

export interface InventoryCheck {
  readonly condition: (typeof inventoryConditions)[number];
  /** The inventory's own; 0 where it has none that can be read. */
  readonly epoch: number;
}

/** A reservation that stayed uncommitted for too long. */
export interface Orphan extends AcceptedOrder {
  /** Times that the reaper has handed it over already. */
  readonly redeliveries: number;
}

/** What one look of the reaper found. */
export interface OrphansFound {
  readonly orphans: Orphan[];
  /** Ids of records that cannot be read. */
  readonly unreadable: string[];
  /** Of the inventory; 0 where it is closed, and then there is nothing else. */
  readonly epoch: number;
  /** How the pass goes on; null where it is over, or none may begin yet. */
  readonly next: PassPosition | null;
}

/** Where a pass of the reaper over the reservations of a sale stands. */
export interface PassPosition {
  readonly cursor: string;
  /** The earliest ms, by Redis' clock, since which one waits that was not taken. */
  readonly waitingSince: string;
}

/** The inventory is closed, or has another epoch than the caller spoke for: nothing was written, and later it may be. */
export class InventoryRecoveringError extends Error {
  override name = 'InventoryRecoveringError';
  constructor(saleId: string) {
    super(`the inventory of ${saleId} is being rebuilt`);
  }
}

/** An order that was to be readmitted was in this inventory already, and has ended meanwhile: the ledger knows how, and is to be asked again. */
export class OrderEndedError extends Error {
  override name = 'OrderEndedError';
  constructor(orderId: string) {
    super(`${orderId} has ended since the ledger was asked for it`);
  }
}

/** @returns why an order cannot be readmitted, or null where it holds units */
export function refusalOf(word: unknown): RejectionReason | null {
  switch (word) {
    case 'readmitted':
    case 'known':
      return null;
    case 'no_room':
      return 'NO_ROOM_AFTER_LOSS';
    case 'over_buyer_limit':
      return 'OVER_CAP_AFTER_LOSS';
    case 'key_taken':
      return 'DUPLICATE_REQUEST';
    default:
      throw new Error(`lua/readmit.lua answered with a word that the inventory does not know: ${String(word)}`);
  }
}

/** @param value the number, or the order id, that stands beside the word */
export function readOutcome(
  word: unknown,
  value: unknown,
  shared: { available: number; reservedAt: number; epoch: number },
): ReserveOutcome {
  const number = Number(value);
  switch (word) {
    case 'reserved':
      return { word, reservedAt: shared.reservedAt, available: shared.available, epoch: shared.epoch };
    case 'replayed':
      return { word, orderId: String(value), available: shared.available };
    case 'key_reused':
      return { word };
    case 'buyer_limited':
    case 'not_open':
      return { word, waitMs: number };
    case 'system_limited':
    case 'paused':
    case 'ended':
    case 'sold_out':
    case 'ledger_behind':
      return { word };
    case 'not_enough_units':
      return { word, available: number };
    case 'over_buyer_limit':
      return { word, holds: number };
    default:
      throw new Error(`lua/reserve.lua answered with a word that the inventory does not know: ${String(word)}`);
  }
}

/** @throws where the script answered with a word that is not among those known */
export function expectWord<Word extends string>(script: string, found: unknown, ...known: Word[]): Word {
  if (known.includes(found as Word)) return found as Word;
  throw new Error(`lua/${script}.lua answered with a word that the inventory does not know: ${String(found)}`);
}
