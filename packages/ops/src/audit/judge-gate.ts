/** What must be so within the inventory alone. All of it was read at one instant, so that there is nothing to wait for. */
import { type Equation, type InventoryState, type Suspect, suspect, units } from './audit-report.ts';
import type { InventorySnapshot } from './read-gate.ts';

const NUMBERS = ['allotment', 'available', 'reserved', 'sold'] as const;
/** Fields that an inventory decides by, beside its numbers. */
const SETTINGS = ['orders', 'starts_at', 'ends_at', 'per_buyer_limit', 'paused', 'version', 'epoch'] as const;

/** @param inventoryVersion the ledger's, 0: the inventory was never made */
export function inventoryState({ fields, life }: InventorySnapshot, inventoryVersion: number): InventoryState {
  if (fields.size === 0) return inventoryVersion === 0 ? 'not opened yet' : 'missing';
  return fields.get('instance_id') === life ? 'open' : 'closed';
}

/** @returns null where one of the numbers is none */
export function readEquation({ fields }: InventorySnapshot): Equation | null {
  const [allotment, available, reserved, sold] = NUMBERS.map((name) => wholeNumber(fields.get(name)));
  if (allotment == null || available == null || reserved == null || sold == null) return null;
  return { allotment, available, reserved, held: 0, sold, holds: allotment === available + reserved + sold };
}

/** @returns null where the text is no whole number */
export function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^-?\d{1,15}$/.test(text) ? Number(text) : null;
}

export function judgeInventory(inventory: InventorySnapshot): Suspect[] {
  if (inventory.wrongType !== null) {
    return [
      suspect(
        'INVENTORY_UNREADABLE',
        'keys',
        `One of the sale's keys is of another type than it must be (${inventory.wrongType}).`,
      ),
    ];
  }
  return [...judgeNumbers(inventory), ...judgeRecords(inventory)];
}

function judgeNumbers(inventory: InventorySnapshot): Suspect[] {
  const unreadable = [...NUMBERS, ...SETTINGS].filter((name) => wholeNumber(inventory.fields.get(name)) === null);
  const found = unreadable.map((name) =>
    suspect(
      'INVENTORY_UNREADABLE',
      name,
      `The inventory's ${name} is ${shown(inventory.fields.get(name))}: no whole number.`,
    ),
  );
  const equation = readEquation(inventory);
  if (!equation) return found;
  for (const name of NUMBERS) {
    if (equation[name] < 0)
      found.push(suspect('NEGATIVE_UNITS', name, `The inventory's ${name} is ${units(equation[name])}.`));
  }
  if (!equation.holds) {
    const { allotment, available, reserved, held, sold } = equation;
    const sum = available + reserved + held + sold;
    found.push(
      suspect(
        'EQUATION_BROKEN',
        'allotment',
        `The allotment is ${units(allotment)}, and available, reserved, held and sold are ${sum} together.`,
      ),
    );
  }
  return [...found, ...judgeReserved(inventory, equation.reserved)];
}

/** Units that are reserved belong to reservations. */
function judgeReserved({ reservations }: InventorySnapshot, reserved: number): Suspect[] {
  let owned = 0;
  for (const reservation of reservations.values()) {
    // What a record holds that cannot be read is unknown, and with it the sum; the record is named by itself.
    if (!reservation) return [];
    owned += reservation.quantity;
  }
  if (reserved === owned) return [];
  const detail = `The inventory counts ${units(reserved)} reserved, and its ${reservations.size} reservations hold ${owned}.`;
  return [suspect(reserved > owned ? 'UNITS_WITHOUT_OWNER' : 'UNITS_NOT_COUNTED', 'reserved', detail)];
}

function judgeRecords({ fields, reservations, claims, redeliveries }: InventorySnapshot): Suspect[] {
  const found: Suspect[] = [];
  const orders = wholeNumber(fields.get('orders'));
  if (orders !== null && orders !== reservations.size) {
    const detail = `The inventory counts ${orders} orders that are reserved, and has ${reservations.size} reservations.`;
    found.push(suspect('RESERVATIONS_MISCOUNTED', 'orders', detail));
  }
  for (const [id, reservation] of reservations) {
    if (!reservation)
      found.push(suspect('RESERVATION_UNREADABLE', id, 'The record of this reservation cannot be read.'));
  }
  for (const id of claims) {
    if (!reservations.has(id)) {
      found.push(suspect('CLAIM_WITHOUT_RESERVATION', id, 'The reaper has claimed this order and it holds nothing.'));
    }
  }
  for (const id of redeliveries) {
    if (!reservations.has(id)) {
      found.push(
        suspect('REDELIVERY_WITHOUT_RESERVATION', id, 'Redeliveries of this order are counted and it holds nothing.'),
      );
    }
  }
  return found;
}

function shown(text: string | undefined): string {
  return text === undefined ? 'not there' : JSON.stringify(text);
}
