/**
 * The last check: the ledger's rows and the inventory's numbers against every reply. Each row must
 * come from one call (its request id), and each "accepted" must have its row.
 */

import type { Auditor } from './auditor.ts';
import type { EndState, LedgerRow, SaleEnd } from './calls.ts';
import type { Attempt } from './known-orders.ts';
import type { Taken } from './sale-record.ts';

export interface EndCounts {
  /** Accepted orders that are not confirmed, and that only an emptied Redis had known. */
  readonly gone: number;
  readonly confirmedOrders: number;
  readonly confirmedUnits: number;
}

/** @param at when the end was read */
export function checkEnd(auditor: Auditor, end: EndState, at: number): EndCounts {
  const rows = new Map(end.rows.map((row) => [row.id, row]));
  const takenOf = new Map<string, Taken[]>([...auditor.sales.keys()].map((id) => [id, []]));
  for (const row of end.rows) {
    const attempt = checkRow(auditor, row, at);
    if (row.status !== 'confirmed') continue;
    const takenBy = auditor.orders.get(row.id)?.takenBy ?? Infinity;
    const from = attempt?.sentAt ?? Number.NEGATIVE_INFINITY;
    takenOf.get(row.saleId)?.push({ buyerId: row.buyerId, quantity: row.quantity, from, until: takenBy });
  }
  let gone = 0;
  for (const order of auditor.orders.values()) {
    if (order.acceptedAt === Infinity || rows.get(order.id)?.status === 'confirmed') continue;
    const { id, saleId, buyerId, quantity, from, takenBy } = order;
    const mayBeGone = auditor.mayBeGone(order);
    if (mayBeGone) gone += 1;
    else {
      const found = rows.get(id);
      const what = found ? `${found.status} ${found.reason}` : 'not in the ledger';
      auditor.report('lost', `order ${id} was accepted and is ${what}`, at, 0, id);
    }
    const until = mayBeGone ? Infinity : takenBy;
    takenOf.get(saleId)?.push({ buyerId, quantity, from, until });
  }
  checkKeysAndCaps(auditor, end.rows, at);
  for (const sale of end.sales) checkSale(auditor, sale, end, at);
  for (const [id, record] of auditor.sales) {
    for (const violation of record.check(takenOf.get(id) ?? [], end.changes, auditor.faults)) {
      // A rebuilt inventory may promise a unit again; the ledger then rejects the surplus.
      if (auditor.rules.redisMayLose) continue;
      auditor.report(
        violation.kind,
        `${id}: ${violation.sentence}`,
        at,
        violation.n,
        auditor.attempts.get(violation.n)?.orderId ?? null,
      );
    }
  }
  const confirmed = end.rows.filter((row) => row.status === 'confirmed');
  return { gone, confirmedOrders: confirmed.length, confirmedUnits: unitsOf(confirmed) };
}

/** @returns the call that made the row */
function checkRow(auditor: Auditor, row: LedgerRow, at: number): Attempt | undefined {
  const n = Number(/^call-(\d+)$/.exec(row.requestId)?.[1] ?? 0);
  const attempt = auditor.attempts.get(n);
  const must = (holds: boolean, sentence: string): void => {
    if (!holds) auditor.report('untrue', sentence, at, n, row.id);
  };
  must(attempt !== undefined, `row ${row.id} is of the request ${row.requestId}, which nobody sent`);
  if (!attempt) return undefined;
  const { asked } = attempt;
  must(
    attempt.orderId === row.id || (attempt.open && attempt.orderId === null),
    `row ${row.id} (${row.quantity} units of ${row.buyerId}) is there, and its request was told ` +
      `${attempt.word} ${attempt.orderId ?? ''}`,
  );
  must(
    asked.saleId === row.saleId && asked.buyerId === row.buyerId && asked.quantity === row.quantity,
    `row ${row.id} is not what was asked for`,
  );
  if (row.status === 'confirmed') {
    must(asked.key === row.key, `row ${row.id} has the key ${row.key}, and the request had ${asked.key}`);
    const price = auditor.sales.get(row.saleId)?.priceCents ?? Number.NaN;
    must(
      row.amountCents === price * row.quantity,
      `row ${row.id}: ${row.amountCents} cents for ${row.quantity} × ${price}`,
    );
  } else must(auditor.rules.redisMayLose, `row ${row.id} is ${row.status}: ${row.reason}`);
  return attempt;
}

function checkKeysAndCaps(auditor: Auditor, rows: readonly LedgerRow[], at: number): void {
  const confirmed = rows.filter((row) => row.status === 'confirmed');
  const keyed = confirmed.filter((row) => row.key !== null);
  for (const [key, own] of Map.groupBy(keyed, (row) => `${row.saleId} ${row.buyerId} ${row.key}`)) {
    if (own.length > 1)
      auditor.report('untrue', `${own.length} orders under one key: ${key}`, at, 0, own[0]?.id ?? null);
  }
  for (const [buyer, own] of Map.groupBy(confirmed, (row) => `${row.saleId} ${row.buyerId}`)) {
    const cap = auditor.sales.get(own[0]?.saleId ?? '')?.cap ?? 0;
    if (cap > 0 && unitsOf(own) > cap) {
      auditor.report('untrue', `${buyer} holds ${unitsOf(own)} units and may hold ${cap}`, at, 0, own[0]?.id ?? null);
    }
  }
  for (const buyers of Map.groupBy(confirmed, (row) => row.requestId).values()) {
    if (buyers.length < 2) continue;
    const ids = buyers.map((row) => row.id).join(', ');
    auditor.report('untrue', `one request made ${buyers.length} orders: ${ids}`, at, 0, buyers[0]?.id ?? null);
  }
}

function checkSale(auditor: Auditor, sale: SaleEnd, end: EndState, at: number): void {
  const { saleId, ledger, inventory } = sale;
  const record = auditor.sales.get(saleId);
  const report = (kind: 'untrue' | 'oversold' | 'leaked' | 'stuck', sentence: string): void =>
    auditor.report(kind, `${saleId}: ${sentence}`, at);
  if (!record) {
    report('untrue', 'a sale that nobody made');
    return;
  }
  let allotment = record.units;
  for (const change of record.changes.values()) {
    const state = end.changes.get(change.id);
    if (state === 'applied') allotment += change.delta;
    if (state === 'pending') report('stuck', `the change ${change.id} is still pending`);
    if (change.told !== null && change.told !== state) {
      report('untrue', `the change ${change.id} was told ${change.told} and is ${state ?? 'not in the ledger'}`);
    }
  }
  if (ledger.allotment !== allotment)
    report('untrue', `the ledger's allotment is ${ledger.allotment}, not ${allotment}`);
  const confirmed = unitsOf(end.rows.filter((row) => row.saleId === saleId && row.status === 'confirmed'));
  if (confirmed > allotment) report('oversold', `${confirmed} units confirmed, and the allotment is ${allotment}`);
  if (ledger.sold !== confirmed)
    report('untrue', `the ledger counts ${ledger.sold} sold, and its rows are ${confirmed}`);
  if (inventory === null) {
    report('stuck', 'it has no inventory');
    return;
  }
  if (inventory.reserved !== 0 || inventory.reservations !== 0) {
    report('stuck', `${inventory.reserved} units, ${inventory.reservations} orders are still reserved`);
  }
  const leaked = inventory.allotment - inventory.available - inventory.reserved - confirmed;
  if (leaked !== 0 || inventory.allotment !== allotment) {
    report(
      'leaked',
      `${leaked} units: the inventory says ${JSON.stringify(inventory)}, allotment ${allotment}, rows ${confirmed}`,
    );
  }
}

const unitsOf = (rows: readonly LedgerRow[]): number => rows.reduce((sum, row) => sum + row.quantity, 0);
