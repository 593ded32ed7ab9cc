/** What an audit says. docs/runbook.md says what to do about each code. */

export type BreakCode =
  // The inventory's own numbers and records
  | 'INVENTORY_UNREADABLE'
  | 'INVENTORY_CLOSED'
  | 'INVENTORY_MISSING'
  | 'NEGATIVE_UNITS'
  | 'EQUATION_BROKEN'
  | 'UNITS_WITHOUT_OWNER'
  | 'UNITS_NOT_COUNTED'
  | 'RESERVATION_UNREADABLE'
  | 'RESERVATIONS_MISCOUNTED'
  | 'CLAIM_WITHOUT_RESERVATION'
  | 'REDELIVERY_WITHOUT_RESERVATION'
  // Orders, on their way and at their end
  | 'ORDER_STUCK'
  | 'OUTCOME_NOT_APPLIED'
  | 'ORDER_DIFFERS'
  | 'ORDER_LOST'
  | 'ORDER_KEY_WRONG'
  | 'ORDER_KEY_MISSING'
  | 'KEY_TWICE'
  | 'ORDER_ROW_ILLEGAL'
  | 'AMOUNT_WRONG'
  | 'BUYER_COUNT_WRONG'
  | 'BUYER_OVER_CAP'
  // Jobs
  | 'JOB_WITHOUT_RESERVATION'
  | 'JOB_UNREADABLE'
  // The sale, in the ledger and between ledger and inventory
  | 'SALE_NOT_IN_LEDGER'
  | 'LEDGER_SOLD_WRONG'
  | 'LEDGER_OVERSOLD'
  | 'ALLOTMENT_DIFFERS'
  | 'ALLOTMENT_UNEXPLAINED'
  | 'STOCK_CHANGE_STUCK'
  | 'SETTINGS_DIFFER'
  | 'INVENTORY_VERSION_AHEAD'
  | 'EPOCHS_DIFFER';

export interface AuditBreak {
  readonly code: BreakCode;
  /** What it is about: an order's, buyer's, job's or change's id, or one of the sale's numbers. */
  readonly subject: string;
  /** A sentence. */
  readonly detail: string;
}

export type InventoryState = 'open' | 'closed' | 'missing' | 'not opened yet';

/** All in units. `held` stays 0 until units can be held for a payment. */
export interface Equation {
  readonly allotment: number;
  readonly available: number;
  readonly reserved: number;
  readonly held: number;
  readonly sold: number;
  readonly holds: boolean;
}

export interface SaleAudit {
  readonly saleId: string;
  /** By the ledger; null where it does not know the sale. */
  readonly epoch: number | null;
  readonly inventory: InventoryState;
  /** null where the inventory is not open, or cannot be read. */
  readonly equation: Equation | null;
  /** Units, units, orders, orders. */
  readonly ledger: { allotment: number; sold: number; confirmed: number; rejected: number };
  /** Whether numbers moved while it was looked at. */
  readonly live: boolean;
  /** Why it could not be judged, or not all of it: a sentence. null: it was. */
  readonly unjudged: string | null;
  readonly breaks: AuditBreak[];
}

export interface AuditReport {
  /** ISO 8601, by this machine's clock. */
  readonly at: string;
  /** No break, and every sale was judged. */
  readonly clean: boolean;
  /** The most looks that any of the sales needed. */
  readonly looks: number;
  readonly sales: SaleAudit[];
  /** Jobs that say of no sale that they are its own. */
  readonly queue: { readonly breaks: AuditBreak[] };
}

/** Something that must not be, seen in one look: it may be an order on its way between two stores. */
export interface Suspect extends AuditBreak {
  /** What was asked. "Too many" and "too few" are answers to one question. */
  readonly question: string;
  /**
   * By how much two stores differ, at least and at most, with its sign. 0: what was compared was read at one instant, or its size says
   * nothing.
   */
  readonly least: number;
  readonly most: number;
}

/** @param difference leave it out where what was compared was read at one instant */
export function suspect(code: BreakCode, subject: string, detail: string, difference = 0): Suspect {
  return { code, subject, detail, question: `${code} ${subject}`, least: difference, most: difference };
}

export function units(count: number): string {
  return count === 1 ? '1 unit' : `${count} units`;
}

/** Breaks of one code that are listed; a sale with a million of them needs no million lines. */
export const LISTED_MAX = 100;

/** Cuts each code's list, and says how many there were. */
export function listBreaks(suspects: Iterable<Suspect>): AuditBreak[] {
  const byCode = Map.groupBy(suspects, ({ code }) => code);
  return [...byCode].flatMap(([code, all]) => {
    const listed = all.slice(0, LISTED_MAX).map(({ subject, detail }) => ({ code, subject, detail }));
    const more = all.length - listed.length;
    if (more > 0) listed.push({ code, subject: `${more} more`, detail: `There are ${more} more of these.` });
    return listed;
  });
}

/** Whatever keeps a report from being clean, a line each. */
export function listFaults({ sales, queue }: AuditReport): string[] {
  const line = ({ code, subject, detail }: AuditBreak): string => `${code} ${subject}: ${detail}`;
  return [
    ...sales.flatMap(({ saleId, breaks, unjudged }) => [
      ...breaks.map((found) => `${saleId}: ${line(found)}`),
      ...(unjudged === null ? [] : [`${saleId}: not judged: ${unjudged}`]),
    ]),
    ...queue.breaks.map(line),
  ];
}

/** @returns 0: clean; 1: something is wrong; 2: nothing that was judged is wrong, and not all could be judged */
export function exitCodeOf({ clean, sales, queue }: AuditReport): 0 | 1 | 2 {
  if ([...sales, queue].some(({ breaks }) => breaks.length > 0)) return 1;
  return clean ? 0 : 2;
}
