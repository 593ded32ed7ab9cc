/** What an audit says, and how a suspicion becomes a break. docs/running.md has every code with its meaning. */

export type BreakCode =
  // The gate's own numbers and records
  | 'GATE_UNREADABLE'
  | 'GATE_CLOSED'
  | 'GATE_MISSING'
  | 'NEGATIVE_UNITS'
  | 'EQUATION_BROKEN'
  | 'UNITS_WITHOUT_OWNER'
  | 'UNITS_NOT_COUNTED'
  | 'RESERVATION_UNREADABLE'
  | 'RESERVATION_NOT_WATCHED'
  | 'UNSETTLED_WITHOUT_RESERVATION'
  | 'HAND_OVER_WITHOUT_RESERVATION'
  // Orders, on their way and at their end
  | 'ORDER_STUCK'
  | 'VERDICT_NOT_FOLLOWED'
  | 'ORDER_DIFFERS'
  | 'ORDER_LOST'
  | 'ORDER_KEY_WRONG'
  | 'KEY_TWICE'
  | 'ORDER_ROW_ILLEGAL'
  | 'AMOUNT_WRONG'
  | 'BUYER_COUNT_WRONG'
  | 'BUYER_OVER_CAP'
  // Jobs
  | 'JOB_WITHOUT_RESERVATION'
  | 'JOB_UNREADABLE'
  // The sale, in the ledger and between ledger and gate
  | 'SALE_NOT_IN_LEDGER'
  | 'LEDGER_SOLD_WRONG'
  | 'LEDGER_OVERSOLD'
  | 'ALLOTMENT_DIFFERS'
  | 'ALLOTMENT_UNEXPLAINED'
  | 'STOCK_CHANGE_STUCK'
  | 'SETTINGS_DIFFER'
  | 'GATE_VERSION_AHEAD'
  | 'EPOCHS_DIFFER';

export interface AuditBreak {
  readonly code: BreakCode;
  /** What it is about: an order's, buyer's, job's or change's id, or one of the sale's numbers. */
  readonly subject: string;
  /** A sentence. */
  readonly detail: string;
}

export type GateState = 'open' | 'closed' | 'missing' | 'not opened yet';

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
  readonly gate: GateState;
  /** null where the gate is not open, or cannot be read. */
  readonly equation: Equation | null;
  /** Units, units, orders, orders. */
  readonly ledger: { allotment: number; sold: number; confirmed: number; rejected: number };
  /** Whether numbers moved while it was looked at. */
  readonly live: boolean;
  readonly breaks: AuditBreak[];
}

export interface AuditReport {
  /** ISO 8601, by this machine's clock. */
  readonly at: string;
  readonly clean: boolean;
  /** The most looks that any of the sales needed. */
  readonly looks: number;
  readonly sales: SaleAudit[];
  /** Jobs that say of no sale that they are its own. */
  readonly queue: { readonly breaks: AuditBreak[] };
}

/** Something that must not be, seen in one look: it may be an order on its way between two stores. */
export interface Suspect extends AuditBreak {
  /**
   * By how much two stores differ, with its sign. 0: what was compared was read at one instant, or its size says nothing.
   */
  readonly difference: number;
}

/** @param difference leave it out where what was compared was read at one instant */
export function suspect(code: BreakCode, subject: string, detail: string, difference = 0): Suspect {
  return { code, subject, detail, difference };
}

export function units(count: number): string {
  return count === 1 ? '1 unit' : `${count} units`;
}

/** Breaks of one code that are listed; a sale with a million of them needs no million lines. */
export const LISTED_MAX = 100;

/**
 * What is wrong stays wrong: a suspicion stands only while each further look has it again, with a difference that does not shrink. What
 * is merely on its way comes and goes with the orders, by other amounts. (A leak that runs on grows.)
 *
 * @param earlier null before the first look
 */
export function stillSuspected(earlier: ReadonlyMap<string, Suspect> | null, now: readonly Suspect[]) {
  const kept = new Map<string, Suspect>();
  for (const one of now) {
    const name = `${one.code} ${one.subject}`;
    const before = earlier?.get(name);
    if (!earlier || (before && persists(before.difference, one.difference))) kept.set(name, one);
  }
  return kept;
}

function persists(before: number, now: number): boolean {
  return Math.sign(before) === Math.sign(now) && Math.abs(now) >= Math.abs(before);
}

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
