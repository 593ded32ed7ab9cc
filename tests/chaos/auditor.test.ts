/** Histories made by hand, each with one violation that the auditor must report. */
import { describe, expect, test } from 'vitest';
import { accepted, audited, History, killed, SALE, unanswered } from './made-history.ts';

test('a true history has no violations', () => {
  const history = new History({ units: 3, cap: 2 });
  const a = history.order('ann', [10, 12], accepted('A', 1), { quantity: 2, key: 'k' });
  history.order('ann', [13, 14], accepted('A', 1, true), { quantity: 2, key: 'k' });
  history.order('ann', [15, 16], 'IDEMPOTENCY_KEY_REUSED', { quantity: 1, key: 'k' });
  history.order('ann', [17, 18], { status: 400, body: { code: 'BUYER_LIMIT', holds: 2 } });
  const b = history.order('bob', [20, 22], accepted('B', 0));
  history.order('cid', [30, 31], 'SOLD_OUT');
  history.read('A', 'ann', [32, 33], 'pending');
  history.read('A', 'ann', [34, 35], 'confirmed');
  history.read('A', 'bob', [36, 37], 'ORDER_NOT_FOUND');
  expect(history.end([history.row(a, 'A'), history.row(b, 'B')])).toEqual([]);
});

describe('what was promised', () => {
  test('more units accepted than there are is oversold', () => {
    const history = new History({ units: 1 });
    const a = history.order('ann', [10, 12], accepted('A', 0));
    const b = history.order('bob', [13, 14], accepted('B', 0));
    expect(history.end([history.row(a, 'A'), history.row(b, 'B')])).toEqual([
      'oversold: tea: 2 units confirmed, and the allotment is 1',
      'oversold: tea: 1 accepted, and at most 0 were left',
    ]);
  });

  audited('an accepted order without a row, or with a rejected one, is lost', ({ history }) => {
    history.order('ann', [10, 12], accepted('A', 9));
    const b = history.order('bob', [13, 14], accepted('B', 8));
    const rejected = history.row(b, 'B', { status: 'rejected', reason: 'LEDGER_SOLD_OUT' });
    expect(history.end([rejected]).filter((line) => line.startsWith('lost'))).toEqual([
      'lost: order tea-A was accepted and is not in the ledger',
      'lost: order tea-B was accepted and is rejected LEDGER_SOLD_OUT',
    ]);
  });

  audited('units that are neither available nor owned are leaked', ({ history }) => {
    expect(history.end([], { inventory: { available: 8 } })).toEqual([expect.stringMatching(/^leaked: tea: 2 units/)]);
  });

  audited('what is still reserved in the end is stuck', ({ history }) => {
    const lines = history.end([], { inventory: { available: 9, reserved: 1, reservations: 1 } });
    expect(lines).toEqual(['stuck: tea: 1 units, 1 orders are still reserved']);
  });

  test('a buyer over the cap', () => {
    const history = new History({ cap: 1 });
    const rows = ['A', 'B'].map((id, i) =>
      history.row(history.order('ann', [10 + i, 11 + i], accepted(id, 9 - i)), id),
    );
    expect(history.end(rows)).toEqual(['untrue: tea ann holds 2 units and may hold 1']);
  });

  audited('a row without a request, and two rows of one request', ({ history }) => {
    const a = history.order('ann', [10, 12], accepted('A', 8));
    const lines = history.end([history.row(a, 'A'), history.row(a, 'B'), history.row(99, 'C')]);
    expect(lines).toContainEqual(
      expect.stringContaining('row tea-B (1 units of ann) is there, and its request was told ok'),
    );
    expect(lines).toContainEqual(expect.stringContaining('row tea-C is of the request call-99, which nobody sent'));
    expect(lines).toContainEqual('untrue: one request made 2 orders: tea-A, tea-B');
  });

  audited('a row whose request got a refusal; one whose request broke is explained', ({ history }) => {
    killed(history, 0, 100);
    history.auditor.faults.begin('redis', 'kill', 0)(100);
    const a = history.order('ann', [10, 12], 'INVENTORY_UNAVAILABLE');
    const b = history.order('bob', [13, 14], unanswered);
    expect(history.end([history.row(a, 'A'), history.row(b, 'B')])).toEqual([
      'untrue: row tea-A (1 units of ann) is there, and its request was told INVENTORY_UNAVAILABLE ',
    ]);
  });

  audited('a wrong amount, in the row and as it is read', ({ history }) => {
    const a = history.order('ann', [10, 12], accepted('A', 8), { quantity: 2 });
    history.read('A', 'ann', [13, 14], 'confirmed', { amount: 2.5 });
    expect(history.end([history.row(a, 'A', { amountCents: 250 })])).toEqual([
      'untrue: amount 2.5 for 2 × 2.5',
      'untrue: row tea-A: 250 cents for 2 × 250',
    ]);
  });
});

describe('statuses', () => {
  test.each([
    ['confirmed', 'pending'],
    ['confirmed', 'rejected'],
    ['confirmed', 'ORDER_NOT_FOUND'],
  ])('%s, then %s', (first, second) => {
    const history = new History();
    history.order('ann', [10, 12], accepted('A', 9));
    history.read('A', 'ann', [13, 14], first);
    history.read('A', 'ann', [15, 16], second);
    expect(history.sentences().length).toBeGreaterThan(0);
  });

  audited('two reads at once may be answered in the other order', ({ history }) => {
    history.order('ann', [10, 12], accepted('A', 9));
    const first = history.ask({ kind: 'read_order', orderId: 'tea-A', buyerId: 'ann' }, 13);
    history.read('A', 'ann', [14, 15], 'confirmed');
    first(16, { body: { order_id: 'tea-A', product_id: SALE, quantity: 1, status: 'pending' } });
    expect(history.sentences()).toEqual([]);
  });

  audited("another buyer's order that can be read; an accepted one that is not found", ({ history }) => {
    history.order('ann', [10, 12], accepted('A', 9));
    history.read('A', 'bob', [13, 14], 'pending');
    history.read('A', 'ann', [15, 16], 'ORDER_NOT_FOUND');
    expect(history.sentences()).toEqual([
      'untrue: the order of ann is shown to bob',
      'untrue: ORDER_NOT_FOUND for its buyer, who had been told that it is there',
    ]);
  });
});

describe('stock', () => {
  test('SOLD_OUT while units must have been there', () => {
    const history = new History({ units: 2 });
    const a = history.order('ann', [10, 12], accepted('A', 1));
    history.order('bob', [20, 21], 'SOLD_OUT', { key: 'k' });
    expect(history.end([history.row(a, 'A')])).toEqual([
      'untrue: tea: SOLD_OUT, and at least 1 were available all the time',
    ]);
  });

  test('SOLD_OUT may be half a second old, but not with a key', () => {
    const history = new History({ units: 1 });
    const a = history.order('ann', [10, 12], accepted('A', 0));
    const change = history.ask({ kind: 'change_stock', saleId: SALE, changeId: 'c', delta: 1 }, 20);
    change(100, { body: { allotment: 2, available: 1, reserved: 0, sold: 1, ledger: { allotment: 2, sold: 1 } } });
    history.order('bob', [590, 591], 'SOLD_OUT');
    history.order('cid', [590, 591], 'SOLD_OUT', { key: 'k' });
    history.order('dan', [610, 611], 'SOLD_OUT');
    expect(history.end([history.row(a, 'A')], { allotment: 2, changes: { c: 'applied' } })).toEqual(
      Array(2).fill('untrue: tea: SOLD_OUT, and at least 1 were available all the time'),
    );
  });

  test('SOLD_OUT is true if an unanswered order or a pending withdrawal can have taken the rest', () => {
    const history = new History({ units: 2 });
    killed(history, 0, 100);
    const a = history.order('ann', [10, 12], unanswered);
    const change = history.ask({ kind: 'change_stock', saleId: SALE, changeId: 'c', delta: -1 }, 15);
    history.order('bob', [20, 21], 'SOLD_OUT');
    change(25, { body: { allotment: 1, available: 0, reserved: 0, sold: 1, ledger: { allotment: 1, sold: 1 } } });
    expect(history.end([history.row(a, 'A')], { allotment: 1, changes: { c: 'applied' } })).toEqual([]);
  });

  test('an unanswered order that took nothing excuses no SOLD_OUT', () => {
    const history = new History({ units: 1 });
    killed(history, 0, 100);
    history.order('ann', [10, 12], unanswered);
    history.order('bob', [20, 21], 'SOLD_OUT');
    expect(history.end([])).toEqual(['untrue: tea: SOLD_OUT, and at least 1 were available all the time']);
  });

  test('NOT_ENOUGH_UNITS with enough of them, or with a number that cannot be', () => {
    const history = new History({ units: 5 });
    history.order('ann', [10, 11], { status: 400, body: { code: 'NOT_ENOUGH_UNITS', available: 5 } }, { quantity: 2 });
    history.order('ann', [12, 13], { status: 400, body: { code: 'NOT_ENOUGH_UNITS', available: 4 } }, { quantity: 6 });
    expect(history.end([])).toEqual([
      'untrue: tea: NOT_ENOUGH_UNITS: 5 are left, and 2 were wanted',
      'untrue: tea: NOT_ENOUGH_UNITS says 4, and it can only have been 5 to 5',
    ]);
  });

  test('BUYER_LIMIT for a buyer who cannot have reached it', () => {
    const history = new History({ cap: 3 });
    const a = history.order('ann', [10, 11], accepted('A', 9));
    history.order('ann', [12, 13], { status: 400, body: { code: 'BUYER_LIMIT', holds: 1 } }, { quantity: 2 });
    history.order('ann', [14, 15], { status: 400, body: { code: 'BUYER_LIMIT', holds: 2 } }, { quantity: 2 });
    expect(history.end([history.row(a, 'A')])).toEqual([
      'untrue: tea: BUYER_LIMIT: holds 1, wants 2, may 3',
      'untrue: tea: BUYER_LIMIT says 2, and it can only have been 1 to 1',
    ]);
  });

  audited('numbers that do not add up, or that cannot be', ({ history }) => {
    const numbers = { allotment: 10, available: 9, reserved: 0, sold: 0, ledger: { allotment: 10, sold: 0 } };
    history.tell({ kind: 'read_numbers', saleId: SALE }, [10, 11], { body: numbers });
    expect(history.end([])).toEqual([
      'untrue: 9 available + 0 reserved + 0 sold, and the allotment is 10',
      'untrue: tea: numbers says 9, and it can only have been 10 to 10',
    ]);
  });

  audited('UNITS_PROMISED while enough were free; a change that is applied and then refused', ({ history }) => {
    const change = { kind: 'change_stock', saleId: SALE, changeId: 'c', delta: -4 } as const;
    history.tell(change, [10, 11], { status: 409, body: { code: 'UNITS_PROMISED', available: 10 } });
    const numbers = { allotment: 6, available: 6, reserved: 0, sold: 0 };
    history.tell(change, [12, 13], { body: numbers });
    expect(history.sentences()).toEqual(['untrue: change c was refused, and now it is applied']);
    expect(history.end([], { changes: { c: 'refused' } }).join()).toContain(
      'at least 10 of 4 were available all the time',
    );
  });
});
