/** The control of the auditor: hand-made histories, each with one fault that it must name, and beside it what it must let pass. */
import { describe, expect, test } from 'vitest';
import { accepted, killed, SALE, ToldHistory, unanswered } from './told-history.ts';

test('a true history is believed', () => {
  const told = new ToldHistory({ units: 3, cap: 2 });
  const a = told.order('ann', [10, 12], accepted('A', 1), { quantity: 2, key: 'k' });
  told.order('ann', [13, 14], accepted('A', 1, true), { quantity: 2, key: 'k' });
  told.order('ann', [15, 16], 'IDEMPOTENCY_KEY_REUSED', { quantity: 1, key: 'k' });
  told.order('ann', [17, 18], { status: 400, body: { code: 'BUYER_LIMIT', holds: 2 } });
  const b = told.order('bob', [20, 22], accepted('B', 0));
  told.order('cid', [30, 31], 'SOLD_OUT');
  told.read('A', 'ann', [32, 33], 'pending');
  told.read('A', 'ann', [34, 35], 'confirmed');
  told.read('A', 'bob', [36, 37], 'ORDER_NOT_FOUND');
  expect(told.end([told.row(a, 'A'), told.row(b, 'B')])).toEqual([]);
});

describe('what was promised', () => {
  test('more units accepted than there are is oversold', () => {
    const told = new ToldHistory({ units: 1 });
    const a = told.order('ann', [10, 12], accepted('A', 0));
    const b = told.order('bob', [13, 14], accepted('B', 0));
    expect(told.end([told.row(a, 'A'), told.row(b, 'B')])).toEqual([
      'oversold: tea: 2 units confirmed, and the allotment is 1',
      'oversold: tea: 1 accepted, and at most 0 were left',
    ]);
  });

  test('an accepted order without a row, or with a rejected one, is lost', () => {
    const told = new ToldHistory();
    told.order('ann', [10, 12], accepted('A', 9));
    const b = told.order('bob', [13, 14], accepted('B', 8));
    const rejected = told.row(b, 'B', { status: 'rejected', reason: 'LEDGER_SOLD_OUT' });
    expect(told.end([rejected]).filter((line) => line.startsWith('lost'))).toEqual([
      'lost: order tea-A was accepted and is not in the ledger',
      'lost: order tea-B was accepted and is rejected LEDGER_SOLD_OUT',
    ]);
  });

  test('units that are neither available nor owned are leaked', () => {
    const told = new ToldHistory();
    expect(told.end([], { inventory: { available: 8 } })).toEqual([expect.stringMatching(/^leaked: tea: 2 units/)]);
  });

  test('what is still reserved in the end is stuck', () => {
    const told = new ToldHistory();
    const lines = told.end([], { inventory: { available: 9, reserved: 1, reservations: 1 } });
    expect(lines).toEqual(['stuck: tea: 1 units, 1 orders are still reserved']);
  });

  test('a buyer over the cap', () => {
    const told = new ToldHistory({ cap: 1 });
    const rows = ['A', 'B'].map((id, i) => told.row(told.order('ann', [10 + i, 11 + i], accepted(id, 9 - i)), id));
    expect(told.end(rows)).toEqual(['lie: tea ann holds 2 units and may hold 1']);
  });

  test('a row that nobody asked for, and two rows of one request', () => {
    const told = new ToldHistory();
    const a = told.order('ann', [10, 12], accepted('A', 8));
    const lines = told.end([told.row(a, 'A'), told.row(a, 'B'), told.row(99, 'C')]);
    expect(lines).toContainEqual(
      expect.stringContaining('row tea-B (1 units of ann) is there, and its request was told ok'),
    );
    expect(lines).toContainEqual(expect.stringContaining('row tea-C is of the request call-99, which nobody sent'));
    expect(lines).toContainEqual('lie: one request made 2 orders: tea-A, tea-B');
  });

  test('a row whose request was told that nothing was taken; one whose request broke is explained', () => {
    const told = new ToldHistory();
    killed(told, 0, 100);
    told.auditor.weather.begin('redis', 'kill', 0)(100);
    const a = told.order('ann', [10, 12], 'INVENTORY_UNAVAILABLE');
    const b = told.order('bob', [13, 14], unanswered);
    expect(told.end([told.row(a, 'A'), told.row(b, 'B')])).toEqual([
      'lie: row tea-A (1 units of ann) is there, and its request was told INVENTORY_UNAVAILABLE ',
    ]);
  });

  test('a wrong amount, in the row and as it is read', () => {
    const told = new ToldHistory();
    const a = told.order('ann', [10, 12], accepted('A', 8), { quantity: 2 });
    told.read('A', 'ann', [13, 14], 'confirmed', { amount: 2.5 });
    expect(told.end([told.row(a, 'A', { amountCents: 250 })])).toEqual([
      'lie: amount 2.5 for 2 × 2.5',
      'lie: row tea-A: 250 cents for 2 × 250',
    ]);
  });
});

describe('statuses', () => {
  test.each([
    ['confirmed', 'pending'],
    ['confirmed', 'rejected'],
    ['confirmed', 'ORDER_NOT_FOUND'],
  ])('%s, then %s', (first, second) => {
    const told = new ToldHistory();
    told.order('ann', [10, 12], accepted('A', 9));
    told.read('A', 'ann', [13, 14], first);
    told.read('A', 'ann', [15, 16], second);
    expect(told.sentences().length).toBeGreaterThan(0);
  });

  test('two readings at once may be answered the other way round', () => {
    const told = new ToldHistory();
    told.order('ann', [10, 12], accepted('A', 9));
    const first = told.ask({ kind: 'read_order', orderId: 'tea-A', buyerId: 'ann' }, 13);
    told.read('A', 'ann', [14, 15], 'confirmed');
    first(16, { body: { order_id: 'tea-A', product_id: SALE, quantity: 1, status: 'pending' } });
    expect(told.sentences()).toEqual([]);
  });

  test("somebody else's order that can be read; an accepted one that is not found", () => {
    const told = new ToldHistory();
    told.order('ann', [10, 12], accepted('A', 9));
    told.read('A', 'bob', [13, 14], 'pending');
    told.read('A', 'ann', [15, 16], 'ORDER_NOT_FOUND');
    expect(told.sentences()).toEqual([
      'lie: the order of ann is shown to bob',
      'lie: ORDER_NOT_FOUND for its buyer, who had been told that it is there',
    ]);
  });
});

describe('stock', () => {
  test('SOLD_OUT while units must have been there', () => {
    const told = new ToldHistory({ units: 2 });
    const a = told.order('ann', [10, 12], accepted('A', 1));
    told.order('bob', [20, 21], 'SOLD_OUT', { key: 'k' });
    expect(told.end([told.row(a, 'A')])).toEqual(['lie: tea: SOLD_OUT, and at least 1 were available all the time']);
  });

  test('SOLD_OUT may be half a second old, but not for whoever sends a key', () => {
    const told = new ToldHistory({ units: 1 });
    const a = told.order('ann', [10, 12], accepted('A', 0));
    const change = told.ask({ kind: 'change_stock', saleId: SALE, changeId: 'c', delta: 1 }, 20);
    change(100, { body: { allotment: 2, available: 1, reserved: 0, sold: 1, ledger: { allotment: 2, sold: 1 } } });
    told.order('bob', [590, 591], 'SOLD_OUT');
    told.order('cid', [590, 591], 'SOLD_OUT', { key: 'k' });
    told.order('dan', [610, 611], 'SOLD_OUT');
    expect(told.end([told.row(a, 'A')], { allotment: 2, changes: { c: 'applied' } })).toEqual(
      Array(2).fill('lie: tea: SOLD_OUT, and at least 1 were available all the time'),
    );
  });

  test('SOLD_OUT is believed where an unanswered order, or a withdrawal on its way, can have taken the rest', () => {
    const told = new ToldHistory({ units: 2 });
    killed(told, 0, 100);
    const a = told.order('ann', [10, 12], unanswered);
    const change = told.ask({ kind: 'change_stock', saleId: SALE, changeId: 'c', delta: -1 }, 15);
    told.order('bob', [20, 21], 'SOLD_OUT');
    change(25, { body: { allotment: 1, available: 0, reserved: 0, sold: 1, ledger: { allotment: 1, sold: 1 } } });
    expect(told.end([told.row(a, 'A')], { allotment: 1, changes: { c: 'applied' } })).toEqual([]);
  });

  test('an unanswered order that took nothing in the end excuses no SOLD_OUT', () => {
    const told = new ToldHistory({ units: 1 });
    killed(told, 0, 100);
    told.order('ann', [10, 12], unanswered);
    told.order('bob', [20, 21], 'SOLD_OUT');
    expect(told.end([])).toEqual(['lie: tea: SOLD_OUT, and at least 1 were available all the time']);
  });

  test('NOT_ENOUGH_UNITS with enough of them, or with a number that cannot be', () => {
    const told = new ToldHistory({ units: 5 });
    told.order('ann', [10, 11], { status: 400, body: { code: 'NOT_ENOUGH_UNITS', available: 5 } }, { quantity: 2 });
    told.order('ann', [12, 13], { status: 400, body: { code: 'NOT_ENOUGH_UNITS', available: 4 } }, { quantity: 6 });
    expect(told.end([])).toEqual([
      'lie: tea: NOT_ENOUGH_UNITS: 5 are left, and 2 were wanted',
      'lie: tea: NOT_ENOUGH_UNITS says 4, and it can only have been 5 to 5',
    ]);
  });

  test('BUYER_LIMIT for a buyer who cannot have reached it', () => {
    const told = new ToldHistory({ cap: 3 });
    const a = told.order('ann', [10, 11], accepted('A', 9));
    told.order('ann', [12, 13], { status: 400, body: { code: 'BUYER_LIMIT', holds: 1 } }, { quantity: 2 });
    told.order('ann', [14, 15], { status: 400, body: { code: 'BUYER_LIMIT', holds: 2 } }, { quantity: 2 });
    expect(told.end([told.row(a, 'A')])).toEqual([
      'lie: tea: BUYER_LIMIT: holds 1, wants 2, may 3',
      'lie: tea: BUYER_LIMIT says 2, and it can only have been 1 to 1',
    ]);
  });

  test('numbers that do not add up, or that cannot be', () => {
    const told = new ToldHistory();
    const numbers = { allotment: 10, available: 9, reserved: 0, sold: 0, ledger: { allotment: 10, sold: 0 } };
    told.tell({ kind: 'read_numbers', saleId: SALE }, [10, 11], { body: numbers });
    expect(told.end([])).toEqual([
      'lie: 9 available + 0 reserved + 0 sold, and the allotment is 10',
      'lie: tea: numbers says 9, and it can only have been 10 to 10',
    ]);
  });

  test('UNITS_PROMISED while enough were free; a change that is applied and then refused', () => {
    const told = new ToldHistory();
    const change = { kind: 'change_stock', saleId: SALE, changeId: 'c', delta: -4 } as const;
    told.tell(change, [10, 11], { status: 409, body: { code: 'UNITS_PROMISED', available: 10 } });
    const numbers = { allotment: 6, available: 6, reserved: 0, sold: 0 };
    told.tell(change, [12, 13], { body: numbers });
    expect(told.sentences()).toEqual(['lie: change c was refused, and now it is applied']);
    expect(told.end([], { changes: { c: 'refused' } }).join()).toContain(
      'at least 10 of 4 were available all the time',
    );
  });
});
