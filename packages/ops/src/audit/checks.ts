/** What must be true of one snapshot of a sale. ledger-checks.ts checks the ledger alone. */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { Equation, Violation, ViolationCode } from './audit-report.ts';
import { type InventorySnapshot, NUMBERS } from './read-inventory.ts';
import type { LedgerSnapshot } from './read-ledger.ts';
import type { SaleSnapshot } from './read-snapshot.ts';

/** A snapshot of a sale that the ledger knows, with an inventory that is open and readable. */
interface Open extends SaleSnapshot {
  readonly ledger: LedgerSnapshot;
  /** By name, as the inventory has them. */
  readonly numbers: Record<(typeof NUMBERS)[number] | (typeof SETTINGS)[number], number>;
  /** null: one of them cannot be decoded, so their units are unknown. */
  readonly reserved: readonly AcceptedOrder[] | null;
}

const SETTINGS = ['orders', 'starts_at', 'ends_at', 'per_buyer_limit', 'paused', 'version', 'epoch'] as const;

const CHECKS = [checkNumbers, checkSettings, checkReservations, checkJobs, checkBuyers] as const;

export function checkSale(snapshot: SaleSnapshot): Violation[] {
  const { saleId, ledger, state, inventory } = snapshot;
  if (!ledger)
    return [violation('SALE_NOT_IN_LEDGER', saleId, 'Redis has this sale, and the ledger does not know it.')];
  if (state !== 'open') return [...ledger.violations];
  const unreadable = findUnreadable(inventory);
  if (unreadable.length > 0) return [...ledger.violations, ...unreadable];
  const reserved = [...inventory.reservations.values()];
  const open: Open = {
    ...snapshot,
    ledger,
    numbers: numbersOf(inventory) as Open['numbers'],
    reserved: reserved.includes(null) ? null : (reserved as AcceptedOrder[]),
  };
  return [...ledger.violations, ...CHECKS.flatMap((check) => [...check(open)])];
}

export function violation(code: ViolationCode, subject: string, detail: string): Violation {
  return { code, subject, detail };
}

/** @returns null if one of the numbers cannot be read */
export function readEquation(inventory: InventorySnapshot): Equation | null {
  const { allotment, available, reserved, sold } = numbersOf(inventory) as Open['numbers'];
  if ([allotment, available, reserved, sold].some(Number.isNaN)) return null;
  return { allotment, available, reserved, held: 0, sold, holds: allotment === available + reserved + sold };
}

/** NaN: not a whole number. */
function numbersOf({ fields }: InventorySnapshot): Record<string, number> {
  const entries = [...NUMBERS, ...SETTINGS].map((name) => [name, fields.get(name) ?? ''] as const);
  return Object.fromEntries(
    entries.map(([name, text]) => [name, /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN]),
  );
}

function findUnreadable(inventory: InventorySnapshot): Violation[] {
  if (inventory.wrongType !== null) {
    return [violation('INVENTORY_UNREADABLE', 'keys', `A key has the wrong type (${inventory.wrongType}).`)];
  }
  const names = Object.entries(numbersOf(inventory)).flatMap(([name, number]) => (Number.isNaN(number) ? [name] : []));
  return names.map((name) => {
    const value = JSON.stringify(inventory.fields.get(name)) ?? 'missing';
    return violation('INVENTORY_UNREADABLE', name, `The inventory's ${name} is ${value}, and not a whole number.`);
  });
}

const units = (count: number): string => (count === 1 ? '1 unit' : `${count} units`);
const seconds = (ms: number): string => `${Math.round(ms / 1_000)} s`;
const unitsOf = (orders: readonly { quantity: number }[]): number =>
  orders.reduce((sum, { quantity }) => sum + quantity, 0);

function* checkNumbers(snapshot: Open): Iterable<Violation> {
  const { inventory, ledger, numbers, reserved } = snapshot;
  for (const name of NUMBERS) {
    if (numbers[name] < 0) yield violation('NEGATIVE_UNITS', name, `The inventory's ${name} is ${numbers[name]}.`);
  }
  const sum = numbers.available + numbers.reserved + numbers.sold;
  if (numbers.allotment !== sum) {
    const detail = `The allotment is ${units(numbers.allotment)}; available, reserved, held and sold add up to ${sum}.`;
    yield violation('EQUATION_BROKEN', 'allotment', detail);
  }
  if (numbers.orders !== inventory.reservations.size) {
    const detail = `The inventory counts ${numbers.orders} reserved orders, and has ${inventory.reservations.size} reservations.`;
    yield violation('RESERVATIONS_MISCOUNTED', 'orders', detail);
  }
  if (reserved) yield* compareUnits('reserved', numbers.reserved, unitsOf(reserved), 'its reservations hold');
  const slack = unitsOf(maybeReadmitted(snapshot));
  yield* compareUnits('sold', numbers.sold, ledger.committed, 'confirmed orders that are not reserved hold', slack);
}

function* compareUnits(name: string, counted: number, held: number, what: string, slack = 0): Iterable<Violation> {
  if (counted <= held && counted >= held - slack) return;
  const detail = `The inventory counts ${units(counted)} ${name}; ${what} ${held}.`;
  yield violation(counted > held ? 'UNITS_WITHOUT_OWNER' : 'UNITS_NOT_COUNTED', name, detail);
}

/**
 * Confirmed orders of an earlier epoch that are in a job: the inventory may have readmitted them
 * after its snapshot.
 */
function maybeReadmitted({ jobs, inventory, ledger }: Open): { buyerId: string; quantity: number }[] {
  const earlier = jobs.filter(({ epoch }) => epoch < ledger.sale.epoch);
  const ids = new Set(earlier.flatMap(({ orders }) => orders.map(({ id }) => id)));
  return [...ids].flatMap((id) => {
    const order = ledger.orders.get(id);
    return order?.status === 'confirmed' && !inventory.reservations.has(id) ? [order] : [];
  });
}

function* checkSettings({ ledger: { sale }, numbers, settleMs }: Open): Iterable<Violation> {
  if (numbers.epoch !== sale.epoch) {
    const detail = `The inventory is open in epoch ${numbers.epoch}, and the ledger is in ${sale.epoch}.`;
    yield violation('EPOCHS_DIFFER', 'inventory', detail);
  }
  if (numbers.version > sale.version) {
    const detail = `The inventory has version ${numbers.version} of the settings, and the ledger ${sale.version}.`;
    yield violation('INVENTORY_VERSION_AHEAD', 'version', detail);
  }
  // The worker syncs a change within seconds.
  if (sale.changedMsAgo <= settleMs || numbers.version > sale.version) return;
  const wanted = {
    version: sale.version,
    paused: sale.paused ? 1 : 0,
    starts_at: sale.startsAt,
    ends_at: sale.endsAt,
    per_buyer_limit: sale.perBuyerLimit,
    ...(sale.hasPendingChange ? {} : { allotment: sale.allotment }),
  };
  for (const [name, value] of Object.entries(wanted)) {
    const found = numbers[name as keyof typeof numbers];
    if (found === value) continue;
    const code = name === 'allotment' ? 'ALLOTMENT_DIFFERS' : 'SETTINGS_DIFFER';
    yield violation(code, name, `The inventory's ${name} is ${found}, the ledger's ${value}.`);
  }
}

function* checkReservations(snapshot: Open): Iterable<Violation> {
  const { saleId, jobs, inventory, ledger, settleMs } = snapshot;
  const { reservations, claims, redeliveries } = inventory;
  const left = (ids: readonly string[]) => ids.filter((id) => !reservations.has(id));
  for (const id of left(claims))
    yield violation('CLAIM_WITHOUT_RESERVATION', id, 'The reaper claimed this order, and it is not reserved.');
  for (const id of left(redeliveries))
    yield violation('REDELIVERY_WITHOUT_RESERVATION', id, 'Redeliveries are counted, and the order is not reserved.');
  const jobOf = new Map(jobs.flatMap((job) => job.orders.map(({ id }) => [id, job.id] as const)));
  for (const [id, reservation] of reservations) {
    if (!reservation) {
      yield violation('RESERVATION_UNREADABLE', id, 'This reservation cannot be decoded.');
      continue;
    }
    const { buyerId, quantity } = reservation;
    const order = ledger.orders.get(id);
    if (order && (order.buyerId !== buyerId || order.quantity !== quantity || order.saleId !== saleId)) {
      const row = `${units(order.quantity)} of ${order.saleId} for ${order.buyerId}, ${order.status}`;
      yield violation('ORDER_DIFFERS', id, `The reservation has ${units(quantity)} for ${buyerId}, the ledger ${row}.`);
    }
    const age = ageOf(reservation.reservedAt, snapshot);
    if (age <= settleMs) continue;
    const job = jobOf.has(id) ? `job ${jobOf.get(id)} carries it` : 'no job carries it';
    const detail = `${units(quantity)} of ${buyerId} are reserved for ${seconds(age)}; the ledger has`;
    yield order
      ? violation('OUTCOME_NOT_APPLIED', id, `${detail} the order as ${order.status}; ${job}.`)
      : violation('ORDER_STUCK', id, `${detail} no outcome; ${job}.`);
  }
}

/** ms since the order was reserved, or since the inventory was rebuilt. */
function ageOf(reservedAt: number, { inventory, ledger }: Open): number {
  return Math.min(inventory.at - reservedAt, ledger.sale.openedMsAgo ?? Number.POSITIVE_INFINITY);
}

function* checkJobs(snapshot: Open): Iterable<Violation> {
  const { jobs, inventory, ledger, settleMs } = snapshot;
  for (const job of jobs) {
    if (job.epoch > ledger.sale.epoch) {
      const detail = `The job is of epoch ${job.epoch}, and the ledger is in ${ledger.sale.epoch}.`;
      yield violation('EPOCHS_DIFFER', job.id, detail);
    }
    for (const { id, reservedAt } of job.orders) {
      if (inventory.reservations.has(id) || ledger.orders.has(id)) continue;
      const age = ageOf(reservedAt, snapshot);
      // Redis lost the reservation of an earlier epoch. The worker of the job readmits the order.
      if (job.epoch >= ledger.sale.epoch) {
        const detail = `Job ${job.id} would confirm this order, which has neither a reservation nor an outcome.`;
        yield violation('JOB_WITHOUT_RESERVATION', id, detail);
      } else if (age > settleMs) {
        const detail = `Redis lost the reservation, and after ${seconds(age)} job ${job.id} still carries the order.`;
        yield violation('ORDER_STUCK', id, detail);
      }
    }
  }
}

function* checkBuyers(snapshot: Open): Iterable<Violation> {
  const { inventory, ledger, reserved } = snapshot;
  const { perBuyerLimit } = ledger.sale;
  if (perBuyerLimit === 0 || !reserved) return;
  const reservedOf = unitsByBuyer(reserved);
  const readmittedOf = unitsByBuyer(maybeReadmitted(snapshot));
  for (const [buyerId, text] of inventory.buyers) {
    const holds = (reservedOf.get(buyerId) ?? 0) + (ledger.committedOf.get(buyerId) ?? 0);
    const count = Number(text ?? 0);
    if (count <= holds && count >= holds - (readmittedOf.get(buyerId) ?? 0)) continue;
    const detail = `The inventory counts ${text ?? 'no'} units of this buyer; the orders hold ${holds}.`;
    yield violation('BUYER_COUNT_WRONG', buyerId, detail);
  }
  // A rejected order is reserved until its release; by then the buyer may have ordered again.
  const holdingOf = unitsByBuyer(reserved.filter(({ id }) => ledger.orders.get(id)?.status !== 'rejected'));
  for (const buyerId of new Set([...holdingOf.keys(), ...ledger.committedOf.keys()])) {
    const holds = (holdingOf.get(buyerId) ?? 0) + (ledger.committedOf.get(buyerId) ?? 0);
    if (holds <= perBuyerLimit) continue;
    yield violation('BUYER_OVER_CAP', buyerId, `The buyer holds ${units(holds)}, and the cap is ${perBuyerLimit}.`);
  }
}

function unitsByBuyer(orders: readonly { buyerId: string; quantity: number }[]): Map<string, number> {
  const byBuyer = Map.groupBy(orders, ({ buyerId }) => buyerId);
  return new Map([...byBuyer].map(([buyerId, own]) => [buyerId, unitsOf(own)]));
}
