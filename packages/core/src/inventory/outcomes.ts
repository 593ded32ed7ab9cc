/** What the replies of the scripts mean. */
import type { AcceptedOrder, RejectionReason } from '../domain/order.ts';

/** What one reserve call returns for all its orders. */
export interface ReserveBatch {
  /** Units left after the batch. */
  readonly available: number;
  /** Milliseconds since 1970 by Redis' clock. */
  readonly reservedAt: number;
  readonly epoch: number;
}

const nothing = () => ({});
const waitMs = (value: string) => ({ waitMs: Number(value) });

/**
 * Every kind of outcome in the replies of lua/reserve.lua, and what comes with it. The type, the
 * parser, the metrics and the API's answers derive from this table.
 */
const details = {
  /** The order holds its units. */
  reserved: (_: string, batch: ReserveBatch) => batch,
  /** The idempotency key has this order already. */
  replayed: (orderId: string, { available }: ReserveBatch) => ({ orderId, available }),
  /** The idempotency key has an order of another quantity. */
  key_reused: nothing,
  /** Milliseconds until the buyer's next token. */
  buyer_limited: waitMs,
  system_limited: nothing,
  /** Milliseconds until the sale opens. */
  not_open: waitMs,
  paused: nothing,
  ended: nothing,
  sold_out: nothing,
  /** Units left, fewer than asked for. */
  not_enough_units: (value: string) => ({ available: Number(value) }),
  /** Units that the buyer holds. */
  over_buyer_limit: (value: string) => ({ holds: Number(value) }),
  /** The sale has reached BACKLOG_LIMIT reservations. */
  ledger_behind: nothing,
  unknown_sale: nothing,
  /** The inventory is closed: Redis is another instance, or the inventory is being rebuilt. */
  recovering: nothing,
} satisfies Record<string, (value: string, batch: ReserveBatch) => object>;

export type ReserveKind = keyof typeof details;

/** What a reserve call returns for one order. */
export type ReserveOutcome = {
  [Kind in ReserveKind]: { readonly kind: Kind } & Readonly<ReturnType<(typeof details)[Kind]>>;
}[ReserveKind];

export const reserveKinds = Object.keys(details) as ReserveKind[];

/**
 * @param value the number or order id behind the kind
 * @throws Error if reserve.lua has no such kind
 */
export function readOutcome(kind: string, value: string, batch: ReserveBatch): ReserveOutcome {
  if (!Object.hasOwn(details, kind)) throw new Error(`lua/reserve.lua answered with an unknown word: ${kind}`);
  return { kind, ...details[kind as ReserveKind](value, batch) } as ReserveOutcome;
}

export interface ReserveDecision {
  readonly outcome: ReserveOutcome;
  /** Whole tokens left in the buyer's bucket; −1 if it was not read. */
  readonly tokensLeft: number;
  /** Milliseconds until the bucket has a whole token; 0 if it has one. */
  readonly tokenInMs: number;
}

/** Why lua/readmit.lua refuses an order, by kind; null: the order holds its units. */
export const readmitReasons: Readonly<Record<string, RejectionReason | null>> = {
  readmitted: null,
  known: null,
  no_room: 'NO_ROOM_AFTER_LOSS',
  over_buyer_limit: 'OVER_CAP_AFTER_LOSS',
  key_taken: 'DUPLICATE_REQUEST',
};

/** What lua/check-inventory.lua found. */
export interface InventoryCheck {
  readonly condition: 'sound' | 'missing' | 'other_server' | 'closed' | 'behind' | 'ahead' | 'inconsistent';
  /** Of the inventory; 0 if it has none. */
  readonly epoch: number;
}

/** A reservation that stayed uncommitted for too long. */
export interface Orphan extends AcceptedOrder {
  /** By the reaper, so far. */
  readonly redeliveries: number;
}

/** One page of a pass of the reaper. */
export interface OrphansFound {
  readonly orphans: Orphan[];
  /** Ids of orders whose reservations cannot be read. */
  readonly unreadable: string[];
  /** Of the inventory; 0 if it is closed, and then nothing is claimed. */
  readonly epoch: number;
  /** Where the pass continues; null if it is over, or if none may start yet. */
  readonly next: PassPosition | null;
}

/** Where a pass over the reservations of a sale continues. */
export interface PassPosition {
  readonly cursor: string;
  /**
   * Earliest ms, by Redis' clock, since which a reservation of this pass waits that was not
   * claimed.
   */
  readonly waitingSince: string;
}

/**
 * The inventory is closed or has another epoch than the caller's. Nothing was written; a retry may
 * succeed later.
 */
export class InventoryRecoveringError extends Error {
  override name = 'InventoryRecoveringError';
  constructor(saleId: string) {
    super(`the inventory of ${saleId} is being rebuilt`);
  }
}

/** An order to be readmitted was in this inventory and has ended since: ask the ledger again. */
export class OrderEndedError extends Error {
  override name = 'OrderEndedError';
  constructor(orderId: string) {
    super(`${orderId} has ended since the ledger was read`);
  }
}
