/** What must be so within the ledger alone, and what it must have in common with the inventory besides the orders. */
import { type Suspect, suspect, units } from './audit-report.ts';
import { wholeNumber } from './judge-gate.ts';
import type { InventorySnapshot } from './read-gate.ts';
import type { IllegalRow, LedgerSnapshot, StockChange } from './read-ledger.ts';

/** Of one instant of the ledger. */
export function judgeLedger({ sale, confirmed, changes, keysTwice, illegalRows }: LedgerSnapshot): Suspect[] {
  const found: Suspect[] = illegalRows.map(judgeRow);
  if (sale.sold !== confirmed.all) {
    const detail = `The sale's row counts ${units(sale.sold)} sold, and its confirmed orders hold ${confirmed.all}.`;
    found.push(suspect('LEDGER_SOLD_WRONG', 'sold', detail));
  }
  const sold = Math.max(sale.sold, confirmed.all);
  if (sold > sale.allotment) {
    found.push(suspect('LEDGER_OVERSOLD', 'sold', `Sold are ${units(sold)}, of an allotment of ${sale.allotment}.`));
  }
  for (const { buyerId, key, orders } of keysTwice) {
    found.push(
      suspect('KEY_TWICE', `${buyerId} ${key}`, `${orders} confirmed orders have this buyer's idempotency key.`),
    );
  }
  // Added units enter the ledger's allotment as the change begins, withdrawn ones leave it as it is applied.
  const changed = changes
    .filter(({ state, delta }) => state === 'applied' || (state === 'pending' && delta > 0))
    .reduce((sum, { delta }) => sum + delta, 0);
  if (sale.initialUnits === null) {
    found.push(suspect('ALLOTMENT_UNEXPLAINED', 'ledger', 'Nobody wrote down with how many units the sale was made.'));
  } else if (sale.allotment !== sale.initialUnits + changed) {
    found.push(
      suspect(
        'ALLOTMENT_UNEXPLAINED',
        'ledger',
        `The allotment is ${units(sale.allotment)}; it was made with ${sale.initialUnits}, and changes add up to ${changed}.`,
      ),
    );
  }
  // The epoch is raised, and written down, in one transaction.
  if (sale.lastEpoch !== null && sale.lastEpoch !== sale.epoch) {
    const detail = `The sale's row has epoch ${sale.epoch}, and the last one that was written down is ${sale.lastEpoch}.`;
    found.push(suspect('EPOCHS_DIFFER', 'ledger', detail));
  }
  return found;
}

function judgeRow({ id, status, reason, quantity, unitPrice, amount, currency }: IllegalRow): Suspect {
  const known = status === 'confirmed' || status === 'rejected';
  if (known && quantity > 0 && (status === 'rejected') === (reason !== null)) {
    const price = `${quantity} × ${unitPrice ?? 'no price'} is written down as ${amount ?? 'no amount'}`;
    return suspect('AMOUNT_WRONG', id, `This order is confirmed, and ${price} ${currency ?? 'in no currency'}.`);
  }
  const about = `${units(quantity)}, ${reason === null ? 'no reason' : `reason ${reason}`}`;
  return suspect('ORDER_ROW_ILLEGAL', id, `This order's row is in no state that there is: ${status}, ${about}.`);
}

/**
 * Settings and numbers of the sale that inventory and ledger both have. The inventory was read first, so that it may be behind.
 *
 * @param changesBefore as the ledger had them before the inventory was read
 */
export function judgeSettings(
  inventory: InventorySnapshot,
  ledger: LedgerSnapshot,
  changesBefore: readonly StockChange[],
  stuckAfterMs: number,
): Suspect[] {
  const { sale, changes } = ledger;
  const [epoch, version, allotment] = ['epoch', 'version', 'allotment'].map((name) =>
    wholeNumber(inventory.fields.get(name)),
  );
  const found: Suspect[] = [];
  if (epoch != null && epoch !== sale.epoch) {
    found.push(
      suspect('EPOCHS_DIFFER', 'inventory', `The inventory is open in epoch ${epoch}, the ledger is in ${sale.epoch}.`),
    );
  }
  if (version != null && version > sale.version) {
    const detail = `The inventory has version ${version} of the settings, the ledger only ${sale.version}.`;
    found.push(suspect('INVENTORY_VERSION_AHEAD', 'version', detail));
  }
  // An inventory that is behind is brought up to date within seconds, and only then must it be the same.
  if (version === sale.version || (version != null && version < sale.version && sale.changedMsAgo > stuckAfterMs)) {
    found.push(...differingSettings(inventory, ledger));
  }
  if (allotment != null) found.push(...judgeAllotment(allotment, ledger, changesBefore));
  for (const { id, state, delta, msAgo } of changes) {
    if (state !== 'pending' || msAgo <= stuckAfterMs) continue;
    const detail = `This change of ${units(delta)} was begun ${seconds(msAgo)} ago and is not finished.`;
    found.push(suspect('STOCK_CHANGE_STUCK', id, detail));
  }
  return found;
}

function differingSettings({ fields }: InventorySnapshot, { sale }: LedgerSnapshot): Suspect[] {
  const wanted = {
    version: sale.version,
    paused: sale.paused ? 1 : 0,
    starts_at: sale.startsAt,
    ends_at: sale.endsAt,
    per_buyer_limit: sale.perBuyerLimit,
  };
  return Object.entries(wanted).flatMap(([name, value]) => {
    const found = wholeNumber(fields.get(name));
    if (found === null || found === value) return [];
    return [suspect('SETTINGS_DIFFER', name, `The inventory's ${name} is ${found}, the ledger's ${value}.`)];
  });
}

/** The two allotments differ by no more than the changes that are on their way between ledger and inventory. */
function judgeAllotment(
  allotment: number,
  { sale, changes }: LedgerSnapshot,
  changesBefore: readonly StockChange[],
): Suspect[] {
  const stateBefore = new Map(changesBefore.map(({ id, state }) => [id, state]));
  let [least, most] = [0, 0];
  for (const { id, delta, state } of changes) {
    // Decided before and after: both have it.
    if (state !== 'pending' && stateBefore.get(id) === state) continue;
    // Added units are the ledger's first. Withdrawn ones leave the inventory first; but one that was finished since may have been in
    // neither or in both as the inventory was read.
    if (delta > 0) most += delta;
    else if (state === 'pending') most -= delta;
    else if (state === 'applied') least += delta;
  }
  const difference = sale.allotment - allotment;
  if (difference >= least && difference <= most) return [];
  const detail = `The ledger's allotment is ${units(sale.allotment)}, the inventory's ${allotment}; no change on its way explains it.`;
  return [suspect('ALLOTMENT_DIFFERS', 'allotment', detail, difference)];
}

export function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
