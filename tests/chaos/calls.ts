/**
 * Calls and replies, as the auditor reads them. Times are ms of this process's clock. What a call
 * did, it did between `sentAt` and `endedAt`; without a reply, at any time after `sentAt` or never.
 */

export type Question =
  | {
      readonly kind: 'order';
      readonly saleId: string;
      readonly buyerId: string;
      readonly quantity: number;
      readonly key: string | null;
    }
  | { readonly kind: 'read_order'; readonly orderId: string; readonly buyerId: string }
  | { readonly kind: 'read_sale'; readonly saleId: string }
  | {
      readonly kind: 'make_sale';
      readonly saleId: string;
      readonly units: number;
      /** Units that one buyer may hold; 0 is no cap. */
      readonly cap: number;
      readonly priceCents: number;
      readonly startsAt: number;
      readonly endsAt: number;
    }
  | { readonly kind: 'pause'; readonly saleId: string }
  | { readonly kind: 'resume'; readonly saleId: string }
  | { readonly kind: 'read_numbers'; readonly saleId: string }
  | { readonly kind: 'move_window'; readonly saleId: string; readonly startsAt: number; readonly endsAt: number }
  | { readonly kind: 'change_stock'; readonly saleId: string; readonly changeId: string; readonly delta: number };

export type QuestionOf<Kind extends Question['kind']> = Extract<Question, { kind: Kind }>;

export interface Call {
  /** Counts from 1; sent as the request id `call-<n>`, which leads to the lines in the log. */
  readonly n: number;
  /** Name of the API process that was asked: api-1. */
  readonly api: string;
  readonly asked: Question;
  readonly sentAt: number;
}

/** How a call ended. Only `replied` says what happened. */
export interface Reply {
  readonly how: 'replied' | 'broken' | 'refused_connection' | 'timed_out' | 'hung_up';
  readonly endedAt: number;
  /** 0 without a reply. */
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly contentType: string;
  readonly retryAfter: string | null;
  readonly replayed: boolean;
}

/** The word of a reply: a problem's code, or `ok`. */
export function wordOf(reply: Reply): string {
  if (reply.how !== 'replied') return reply.how;
  if (reply.status < 300) return 'ok';
  return typeof reply.body.code === 'string' ? reply.body.code : 'NO_CODE';
}

/** Whether the call may have been carried out although its reply does not say so. */
export function isOutcomeOpen(reply: Reply): boolean {
  if (reply.how === 'refused_connection') return false;
  return reply.how !== 'replied' || wordOf(reply) === 'OUTCOME_UNKNOWN';
}

/** One row of the ledger's orders, read after the end. */
export interface LedgerRow {
  readonly id: string;
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  readonly status: string;
  readonly reason: string | null;
  /** Hundredths of the currency's unit. */
  readonly amountCents: number | null;
  readonly requestId: string;
  readonly key: string | null;
}

/** What inventory and ledger hold of a sale after the end. */
export interface SaleEnd {
  readonly saleId: string;
  readonly ledger: { readonly allotment: number; readonly sold: number };
  /** Null if there is no inventory. */
  readonly inventory: {
    readonly allotment: number;
    readonly available: number;
    readonly reserved: number;
    readonly sold: number;
    /** Orders that still have a reservation. */
    readonly reservations: number;
  } | null;
}

export interface EndState {
  readonly rows: readonly LedgerRow[];
  readonly sales: readonly SaleEnd[];
  /** State of each change of stock by its id: applied, refused, pending. */
  readonly changes: ReadonlyMap<string, string>;
}
