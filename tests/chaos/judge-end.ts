/**
 * The auditor's last word: the ledger's rows and the inventory's numbers, held against everything that was said. Each row must be the deed of
 * one call (its request id names it) that was told so, or that nobody answered; and each "accepted" must have its row.
 */
import type { EndState, LedgerRow, SaleEnd } from './history.ts';
import type { Attempt } from './known-orders.ts';
import type { Auditor } from './model.ts';
import type { Taken } from './sale-book.ts';

export interface EndCounts {
  /** Units beyond the allotment. */
  readonly oversold: number;
  /** Units that are neither available nor owned (or both). */
  readonly leaked: number;
  /** Accepted orders that are not confirmed, and that only an emptied Redis had known. */
  readonly gone: number;
  readonly confirmedOrders: number;
  readonly confirmedUnits: number;
}

/** @param at when the end was read */
export function judgeEnd(auditor: Auditor, end: EndState, at: number): EndCounts {
  const rows = new Map(end.rows.map((row) => [row.id, row]));
  const takenOf = new Map<string, Taken[]>([...auditor.sales.keys()].map((id) => [id, []]));
  for (const row of end.rows) {
    const attempt = judgeRow(auditor, row, at);
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
      auditor.accuse('lost', `order ${id} was accepted and is ${what}`, at, 0, id);
    }
    const until = mayBeGone ? Infinity : takenBy;
    takenOf.get(saleId)?.push({ buyerId, quantity, from, until });
  }
  judgeKeysAndCaps(auditor, end.rows, at);
  let [oversold, leaked] = [0, 0];
  for (const sale of end.sales) {
    const found = judgeSale(auditor, sale, end, at);
    oversold += found.oversold;
    leaked += found.leaked;
  }
  for (const [id, book] of auditor.sales) {
    for (const lie of book.judge(takenOf.get(id) ?? [], end.changes, auditor.weather)) {
      // An inventory that was emptied may promise a unit a second time; the ledger then rejects the surplus.
      if (auditor.rules.redisMayLose) continue;
      auditor.accuse(lie.kind, `${id}: ${lie.sentence}`, at, lie.n, auditor.attempts.get(lie.n)?.orderId ?? null);
    }
  }
  const confirmed = end.rows.filter((row) => row.status === 'confirmed');
  return { oversold, leaked, gone, confirmedOrders: confirmed.length, confirmedUnits: unitsOf(confirmed) };
}

/** @returns the call that made the row */
function judgeRow(auditor: Auditor, row: LedgerRow, at: number): Attempt | undefined {
  const n = Number(/^call-(\d+)$/.exec(row.requestId)?.[1] ?? 0);
  const attempt = auditor.attempts.get(n);
  const must = (holds: boolean, sentence: string): void => {
    if (!holds) auditor.accuse('lie', sentence, at, n, row.id);
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

function judgeKeysAndCaps(auditor: Auditor, rows: readonly LedgerRow[], at: number): void {
  const confirmed = rows.filter((row) => row.status === 'confirmed');
  const keyed = confirmed.filter((row) => row.key !== null);
  for (const [key, own] of Map.groupBy(keyed, (row) => `${row.saleId} ${row.buyerId} ${row.key}`)) {
    if (own.length > 1) auditor.accuse('lie', `${own.length} orders under one key: ${key}`, at, 0, own[0]?.id ?? null);
  }
  for (const [buyer, own] of Map.groupBy(confirmed, (row) => `${row.saleId} ${row.buyerId}`)) {
    const cap = auditor.sales.get(own[0]?.saleId ?? '')?.cap ?? 0;
    if (cap > 0 && unitsOf(own) > cap) {
      auditor.accuse('lie', `${buyer} holds ${unitsOf(own)} units and may hold ${cap}`, at, 0, own[0]?.id ?? null);
    }
  }
  for (const buyers of Map.groupBy(confirmed, (row) => row.requestId).values()) {
    if (buyers.length < 2) continue;
    const ids = buyers.map((row) => row.id).join(', ');
    auditor.accuse('lie', `one request made ${buyers.length} orders: ${ids}`, at, 0, buyers[0]?.id ?? null);
  }
}

function judgeSale(auditor: Auditor, sale: SaleEnd, end: EndState, at: number): { oversold: number; leaked: number } {
  const { saleId, ledger, inventory } = sale;
  const book = auditor.sales.get(saleId);
  const accuse = (kind: 'lie' | 'oversold' | 'leaked' | 'stuck', sentence: string): void =>
    auditor.accuse(kind, `${saleId}: ${sentence}`, at);
  if (!book) {
    accuse('lie', 'a sale that nobody made');
    return { oversold: 0, leaked: 0 };
  }
  let allotment = book.units;
  for (const change of book.changes.values()) {
    const state = end.changes.get(change.id);
    if (state === 'applied') allotment += change.delta;
    if (state === 'pending') accuse('stuck', `the change ${change.id} is still pending`);
    if (change.told !== null && change.told !== state) {
      accuse('lie', `the change ${change.id} was told ${change.told} and is ${state ?? 'not in the ledger'}`);
    }
  }
  if (ledger.allotment !== allotment) accuse('lie', `the ledger's allotment is ${ledger.allotment}, not ${allotment}`);
  const confirmed = unitsOf(end.rows.filter((row) => row.saleId === saleId && row.status === 'confirmed'));
  const oversold = Math.max(0, confirmed - allotment);
  if (oversold > 0) accuse('oversold', `${confirmed} units confirmed, and the allotment is ${allotment}`);
  if (ledger.sold !== confirmed) accuse('lie', `the ledger counts ${ledger.sold} sold, and its rows are ${confirmed}`);
  if (inventory === null) {
    accuse('stuck', 'it has no inventory');
    return { oversold, leaked: 0 };
  }
  if (inventory.reserved !== 0 || inventory.reservations !== 0) {
    accuse('stuck', `${inventory.reserved} units, ${inventory.reservations} orders are still reserved`);
  }
  const leaked = inventory.allotment - inventory.available - inventory.reserved - confirmed;
  if (leaked !== 0 || inventory.allotment !== allotment) {
    accuse(
      'leaked',
      `${leaked} units: the inventory says ${JSON.stringify(inventory)}, allotment ${allotment}, rows ${confirmed}`,
    );
  }
  return { oversold, leaked: Math.abs(leaked) };
}

const unitsOf = (rows: readonly LedgerRow[]): number => rows.reduce((sum, row) => sum + row.quantity, 0);
