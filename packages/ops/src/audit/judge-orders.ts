/**
 * Orders, buyers and jobs, as inventory and ledger have them together. Jobs were read first, then the inventory, then the ledger: an order goes the
 * same way, so that it is found in one of them at least.
 */
import { type BreakCode, units as inUnits, type Suspect, suspect } from './audit-report.ts';
import { readEquation } from './judge-gate.ts';
import { seconds } from './judge-ledger.ts';
import { type InventorySnapshot, parseOrderKey } from './read-gate.ts';
import type { AuditedJob } from './read-jobs.ts';
import type { LedgerOrder, LedgerSnapshot } from './read-ledger.ts';
import type { Said } from './weigh-looks.ts';

export interface OrdersSeen {
  readonly saleId: string;
  readonly jobs: readonly AuditedJob[];
  readonly inventory: InventorySnapshot;
  readonly ledger: LedgerSnapshot;
  readonly stuckAfterMs: number;
}

export function judgeOrders(seen: OrdersSeen): Said {
  const capped = seen.ledger.sale.perBuyerLimit > 0;
  const counts = [judgeSold(seen), ...(capped ? judgeBuyerCounts(seen) : [])];
  return {
    suspects: [
      ...counts.filter((count) => count !== null && typeof count !== 'string'),
      ...judgeReservations(seen),
      ...judgeJobs(seen),
      ...judgeOrderKeys(seen),
      ...(capped ? judgeCaps(seen) : []),
    ],
    doubts: counts.filter((count) => typeof count === 'string'),
  };
}

/**
 * Holds units that the inventory counts against those of orders. Orders of the look's very millisecond (`sameMs`) were reserved before it or
 * after it, nobody can say: a difference that they would explain may be none, or may hide a small leak. Then the look cannot tell.
 *
 * @param least what the inventory must count at least without them, and at most
 * @returns the question that stays open; null: all is well
 */
function holdCount(
  question: { name: string; subject: string; tooMany: BreakCode; tooFew: BreakCode; detail: string },
  counted: number,
  { least, most, sameMs }: { least: number; most: number; sameMs: number },
): Suspect | string | null {
  const { name, subject, tooMany, tooFew, detail } = question;
  if (Number.isNaN(counted)) return { ...suspect(tooMany, subject, detail), question: name };
  if (counted > most + sameMs) {
    return {
      ...suspect(tooMany, subject, detail),
      question: name,
      least: counted - most - sameMs,
      most: counted - least,
    };
  }
  if (counted < least) {
    return {
      ...suspect(tooFew, subject, detail),
      question: name,
      least: counted - least,
      most: counted - most - sameMs,
    };
  }
  return sameMs > 0 ? name : null;
}

/**
 * Confirmed orders of an earlier epoch may have been given units by the present inventory after it was read: the clock does not tell.
 *
 * @returns those that may have been, by id
 */
function perhapsReadmitted({ jobs, inventory, ledger }: OrdersSeen): Map<string, LedgerOrder> {
  const found = new Map<string, LedgerOrder>();
  for (const job of jobs) {
    if (job.epoch >= ledger.sale.epoch) continue;
    for (const { id } of job.orders) {
      const order = ledger.orders.get(id);
      if (order?.status === 'confirmed' && !inventory.reservations.has(id)) found.set(id, order);
    }
  }
  return found;
}

function unitsOf(orders: Iterable<{ quantity: number }>): number {
  let units = 0;
  for (const { quantity } of orders) units += quantity;
  return units;
}

/** What the ledger has confirmed is sold in the inventory, or still reserved there because the inventory has not heard of it. */
function judgeSold(seen: OrdersSeen): Suspect | string | null {
  const { inventory, ledger } = seen;
  const equation = readEquation(inventory);
  if (!equation) return null;
  let unheard = 0;
  for (const id of inventory.reservations.keys()) {
    const order = ledger.orders.get(id);
    if (order?.status === 'confirmed') unheard += order.quantity;
  }
  const { before, sameMs } = ledger.confirmed;
  const detail =
    `The inventory counts ${inUnits(equation.sold)} sold and has ${unheard} reserved that are confirmed; ` +
    `confirmed orders of that time hold ${before + sameMs}.`;
  return holdCount(
    { name: 'sold', subject: 'sold', tooMany: 'UNITS_WITHOUT_OWNER', tooFew: 'UNITS_NOT_COUNTED', detail },
    equation.sold + unheard,
    { least: before - unitsOf(perhapsReadmitted(seen).values()), most: before, sameMs },
  );
}

function judgeReservations({ saleId, jobs, inventory, ledger, stuckAfterMs }: OrdersSeen): Suspect[] {
  const carriers = new Map(jobs.flatMap((job) => job.orders.map(({ id }) => [id, job.id] as const)));
  const found: Suspect[] = [];
  for (const [id, reservation] of inventory.reservations) {
    if (!reservation) continue;
    const order = ledger.orders.get(id);
    const { buyerId, quantity } = reservation;
    if (order && (order.buyerId !== buyerId || order.quantity !== quantity || order.saleId !== saleId)) {
      const row = `${inUnits(order.quantity)} of ${order.saleId} to ${order.buyerId}`;
      found.push(
        suspect('ORDER_DIFFERS', id, `Reserved are ${inUnits(quantity)} for ${buyerId}, ${order.status} ${row}.`),
      );
    }
    const age = ageOf(reservation.reservedAt, inventory, ledger);
    if (age <= stuckAfterMs) continue;
    const carrier = carriers.get(id);
    const job = carrier === undefined ? 'no job carries it' : `job ${carrier} carries it`;
    found.push(
      order
        ? suspect(
            'OUTCOME_NOT_APPLIED',
            id,
            `The ledger has this order as ${order.status}, and after ${seconds(age)} it is still reserved; ${job}.`,
          )
        : suspect('ORDER_STUCK', id, `Reserved are ${inUnits(quantity)}, for ${seconds(age)} without an end; ${job}.`),
    );
  }
  return found;
}

/** ms that an order has had to come to its end: from its reservation, or from when its inventory was rebuilt. */
function ageOf(reservedAt: number, { at }: InventorySnapshot, { sale }: LedgerSnapshot): number {
  return Math.min(at - reservedAt, sale.openedMsAgo ?? Number.POSITIVE_INFINITY);
}

function judgeJobs({ jobs, inventory, ledger, stuckAfterMs }: OrdersSeen): Suspect[] {
  const found: Suspect[] = [];
  for (const job of jobs) {
    if (job.epoch > ledger.sale.epoch) {
      const detail = `This job is of epoch ${job.epoch}, and the ledger is in ${ledger.sale.epoch}.`;
      found.push(suspect('EPOCHS_DIFFER', job.id, detail));
    }
    for (const { id, reservedAt } of job.orders) {
      if (inventory.reservations.has(id) || ledger.orders.has(id)) continue;
      if (job.epoch >= ledger.sale.epoch) {
        const detail = `Job ${job.id} carries this order, which has neither a reservation nor an end: it would be confirmed.`;
        found.push(suspect('JOB_WITHOUT_RESERVATION', id, detail));
        continue;
      }
      // Redis lost its reservation; the worker that takes the job asks the inventory for units again.
      const age = ageOf(reservedAt, inventory, ledger);
      if (age <= stuckAfterMs) continue;
      const detail = `Redis lost this order's reservation, and job ${job.id} has carried it for ${seconds(age)} without an end.`;
      found.push(suspect('ORDER_STUCK', id, detail));
    }
  }
  return found;
}

/** Of the candidates: a key leads to an order that there is, of the same buyer and quantity, and to the confirmed one where there is one. */
function judgeOrderKeys({ inventory, ledger }: OrdersSeen): Suspect[] {
  const found: Suspect[] = [];
  for (const [field, value] of inventory.orderKeys) {
    const owners = ledger.keyOwners.get(field) ?? [];
    if (value === null) {
      if (owners.length === 0) continue;
      const detail = `Order ${owners[0]} is confirmed under this key, and the inventory does not know the key: it would take a second order.`;
      found.push(suspect('ORDER_KEY_MISSING', field, detail));
      continue;
    }
    const led = parseOrderKey(field, value);
    const isReserved = led !== null && inventory.reservations.has(led.id);
    const order = led && (inventory.reservations.get(led.id) ?? ledger.orders.get(led.id));
    if (!led)
      found.push(suspect('ORDER_KEY_WRONG', field, `This order key leads to ${JSON.stringify(value)}: no order.`));
    else if (!order && !isReserved) {
      found.push(
        suspect('ORDER_LOST', led.id, `An order key of ${led.buyerId} leads to this order, and nobody has it.`),
      );
    } else if (order && (order.buyerId !== led.buyerId || order.quantity !== led.quantity)) {
      const detail = `This order key leads to ${led.id}, which is of ${inUnits(order.quantity)} for ${order.buyerId}.`;
      found.push(suspect('ORDER_KEY_WRONG', field, detail));
    } else if (!isReserved && owners.length > 0 && !owners.includes(led.id)) {
      // A second order under a key that Redis had forgotten: the worker leads the key back to the first one before its reservation ends.
      const detail = `This order key leads to ${led.id}, which is ${ledger.orders.get(led.id)?.status}, and ${owners[0]} is confirmed under it.`;
      found.push(suspect('ORDER_KEY_WRONG', field, detail));
    }
  }
  return found;
}

/** Of the candidates: the inventory counts the units of a buyer's orders. */
function judgeBuyerCounts(seen: OrdersSeen): (Suspect | string | null)[] {
  const { inventory, ledger } = seen;
  // What a record holds that cannot be read, and for whom, is unknown.
  if ([...inventory.reservations.values()].includes(null)) return [];
  const reserved = unitsByBuyer(inventory.reservations.values());
  const readmitted = unitsByBuyer(perhapsReadmitted(seen).values());
  return [...inventory.buyers].map(([buyerId, text]) => {
    const { before = 0, sameMs = 0 } = ledger.buyers.get(buyerId) ?? {};
    const holds = (reserved.get(buyerId) ?? 0) + before;
    const detail = `The inventory counts ${text ?? 'no'} units of this buyer, and the orders hold ${holds + sameMs}.`;
    const code = 'BUYER_COUNT_WRONG';
    return holdCount(
      { name: `${code} ${buyerId}`, subject: buyerId, tooMany: code, tooFew: code, detail },
      text === null ? 0 : Number(text),
      { least: holds - (readmitted.get(buyerId) ?? 0), most: holds, sameMs },
    );
  });
}

/** Confirmed and reserved orders together. */
function judgeCaps({ inventory, ledger }: OrdersSeen): Suspect[] {
  const cap = ledger.sale.perBuyerLimit;
  const over = new Map(ledger.overCap.map(({ buyerId, units }) => [buyerId, units]));
  // A rejected order's reservation holds units only until the inventory has heard of it.
  const holding = [...inventory.reservations].flatMap(([id, reservation]) =>
    reservation && ledger.orders.get(id)?.status !== 'rejected' ? [reservation] : [],
  );
  for (const [buyerId, units] of unitsByBuyer(holding)) {
    const holds = units + (ledger.buyers.get(buyerId)?.all ?? 0);
    if (holds > cap) over.set(buyerId, holds);
  }
  return [...over].map(([buyerId, units]) =>
    suspect('BUYER_OVER_CAP', buyerId, `This buyer holds ${inUnits(units)}, and the cap is ${cap}.`),
  );
}

function unitsByBuyer(orders: Iterable<{ buyerId: string; quantity: number } | null>): Map<string, number> {
  const units = new Map<string, number>();
  for (const order of orders) {
    if (order) units.set(order.buyerId, (units.get(order.buyerId) ?? 0) + order.quantity);
  }
  return units;
}
