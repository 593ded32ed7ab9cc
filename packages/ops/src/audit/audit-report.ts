/** What an audit reports, and how it is printed: violations by code, and each sale's numbers. */

/** Every code with its meaning, in the order of `npm run audit:sale -- --codes`. */
export const CODES = {
  // The inventory alone
  INVENTORY_UNREADABLE: "A field of the sale's inventory is not a whole number, or a key in Redis has the wrong type.",
  INVENTORY_CLOSED: 'The inventory stayed closed: no worker rebuilt it.',
  INVENTORY_MISSING: 'The ledger has this sale, and Redis has no inventory of it.',
  NEGATIVE_UNITS: 'A number of the inventory is below zero.',
  EQUATION_BROKEN: 'allotment is not available + reserved + held + sold.',
  UNITS_WITHOUT_OWNER: 'The inventory counts more units as reserved or sold than orders hold.',
  UNITS_NOT_COUNTED: 'Orders hold more units than the inventory counts as reserved or sold.',
  RESERVATION_UNREADABLE: 'A reservation in Redis cannot be decoded.',
  RESERVATIONS_MISCOUNTED: "The inventory's count of reserved orders is not the number of its reservations.",
  CLAIM_WITHOUT_RESERVATION: 'The reaper claimed an order that has no reservation.',
  REDELIVERY_WITHOUT_RESERVATION: 'Redeliveries are counted for an order that has no reservation.',
  // Orders
  ORDER_STUCK: 'An accepted order has no outcome after the settle time.',
  OUTCOME_NOT_APPLIED: 'The ledger decided an order, and after the settle time it is still reserved.',
  ORDER_DIFFERS: 'Reservation and ledger disagree about the buyer, the quantity or the sale of an order.',
  ORDER_LOST: 'An idempotency key leads to an order that neither Redis nor the ledger has.',
  ORDER_KEY_WRONG: 'An idempotency key leads to the wrong order, or to something that is not an order.',
  ORDER_KEY_MISSING: 'An order is confirmed under an idempotency key that the inventory does not know.',
  KEY_TWICE: 'Two confirmed orders of a buyer have the same idempotency key.',
  ORDER_ROW_ILLEGAL: "An order's row in the ledger is in a state that does not exist.",
  AMOUNT_WRONG: 'The amount of a confirmed order is not quantity × price.',
  BUYER_COUNT_WRONG: "The inventory's count of a buyer's units is not what the buyer's orders hold.",
  BUYER_OVER_CAP: 'A buyer holds more units than the cap allows.',
  // Jobs
  JOB_WITHOUT_RESERVATION: 'A job carries an order that has neither a reservation nor an outcome.',
  JOB_UNREADABLE: 'The data of a job is not a batch of orders.',
  // The sale, in the ledger and between ledger and inventory
  SALE_NOT_IN_LEDGER: 'Redis has a sale that the ledger does not know.',
  LEDGER_SOLD_WRONG: "The sale's sold counter is not what its confirmed orders hold.",
  LEDGER_OVERSOLD: 'More units are confirmed than the allotment has.',
  ALLOTMENT_DIFFERS: 'The allotments of ledger and inventory differ, and no stock change in progress explains it.',
  ALLOTMENT_UNEXPLAINED: "The ledger's allotment is not the initial one plus all stock changes.",
  STOCK_CHANGE_STUCK: 'A stock change is still pending after the settle time.',
  SETTINGS_DIFFER: 'Inventory and ledger have different settings of the sale.',
  INVENTORY_VERSION_AHEAD: 'The inventory has a settings version that the ledger never had.',
  EPOCHS_DIFFER: 'Ledger, inventory and jobs disagree about the epoch of the sale.',
} as const;

export type ViolationCode = keyof typeof CODES;

export interface Violation {
  readonly code: ViolationCode;
  /** The id of an order, buyer, job or stock change, or the name of one of the sale's numbers. */
  readonly subject: string;
  /** A sentence with the numbers. */
  readonly detail: string;
}

export type InventoryState = 'open' | 'closed' | 'missing';

/** In units. `held` is 0 until units can wait for a payment. */
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
  /** By the ledger; null if it does not know the sale. */
  readonly epoch: number | null;
  readonly inventory: InventoryState;
  /** null unless the inventory is open and readable. */
  readonly equation: Equation | null;
  /** Units, units, orders, orders. */
  readonly ledger: { allotment: number; sold: number; confirmed: number; rejected: number };
  /** Whether numbers moved during the audit. */
  readonly live: boolean;
  /** Why the sale could not be checked: a sentence; null if it was checked. */
  readonly unchecked: string | null;
  readonly violations: Violation[];
}

export interface AuditReport {
  /** ISO 8601, by this machine's clock. */
  readonly at: string;
  /** Every sale was checked, and there is no violation. */
  readonly clean: boolean;
  /** The most snapshots that any of the sales needed. */
  readonly snapshots: number;
  readonly sales: SaleAudit[];
  /** Jobs that belong to no sale. */
  readonly queue: { readonly violations: Violation[] };
}

/** Violations of one code that are listed. */
const LISTED_MAX = 100;

/** Cuts each code's list, and says how many were left out. */
export function listViolations(all: readonly Violation[]): Violation[] {
  return [...Map.groupBy(all, ({ code }) => code)].flatMap(([code, found]) => {
    const more = found.length - LISTED_MAX;
    const rest = more > 0 ? [{ code, subject: `${more} more`, detail: `There are ${more} more of these.` }] : [];
    return [...found.slice(0, LISTED_MAX), ...rest];
  });
}

/** @returns 0: clean; 1: violations; 2: no violations, but some sales could not be checked */
export function exitCodeOf({ clean, sales, queue }: AuditReport): 0 | 1 | 2 {
  if ([...sales, queue].some(({ violations }) => violations.length > 0)) return 1;
  return clean ? 0 : 2;
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

export function printAudit({ sales, queue, snapshots }: AuditReport): string {
  const blocks = sales.map(printSale);
  if (queue.violations.length > 0) blocks.push(['queue', ...queue.violations.map(printViolation)].join('\n'));
  const violations = [...sales, queue].reduce((sum, one) => sum + one.violations.length, 0);
  const unchecked = sales.filter((sale) => sale.unchecked !== null).length;
  const result = [
    ...(violations === 0 ? [] : [counted(violations, 'violation')]),
    ...(unchecked === 0 ? [] : [`${unchecked} not checked`]),
  ];
  const effort = `${counted(sales.length, 'sale')}, ${counted(snapshots, 'snapshot')}`;
  return `${[...blocks, `${effort}: ${result.join(', ') || 'clean'}`].join('\n\n')}\n`;
}

function printSale({ saleId, epoch, inventory, equation, ledger, live, unchecked, violations }: SaleAudit): string {
  const head = [saleId, `inventory ${inventory}`, epoch === null ? '' : `epoch ${epoch}`, live ? 'live' : ''];
  const sold = `${ledger.sold} of ${ledger.allotment} sold`;
  return [
    head.filter((part) => part !== '').join('   '),
    `  inventory  ${equation ? printEquation(equation) : 'not checked'}`,
    epoch === null
      ? '  ledger     does not know this sale'
      : `  ledger     ${sold}, ${counted(ledger.confirmed, 'order')} confirmed, ${ledger.rejected} rejected`,
    ...(unchecked === null ? [] : [`  UNCHECKED  ${unchecked}`]),
    ...violations.map(printViolation),
  ].join('\n');
}

function printEquation({ allotment, available, reserved, held, sold, holds }: Equation): string {
  const sum = `${available} available + ${reserved} reserved + ${held} held + ${sold} sold`;
  return `${allotment} ${holds ? '=' : '≠'} ${sum}   ${holds ? 'balances' : 'BROKEN'}`;
}

/** Ids come from clients: control characters must not reach the terminal. */
function printViolation({ code, subject, detail }: Violation): string {
  return `  VIOLATION  ${code}  ${subject}  ${detail}`.replaceAll(/\p{Cc}/gu, '�');
}
