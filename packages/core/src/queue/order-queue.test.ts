import { expect, test } from 'vitest';
import type { AcceptedOrder, OrderBatch } from '../domain/order.ts';
import { decodeJob, encodeJob } from './order-queue.ts';

/** Without its last character. */
const ULID = '01M8KN3STBRJ4B4EMRRA5B1RF';
const RESERVED_AT = 1_764_412_345_678;

const order = (n: number, more: Partial<AcceptedOrder> = {}): AcceptedOrder => ({
  id: `tea-${ULID}${n}`,
  buyerId: `buyer-${n}`,
  quantity: 1,
  reservedAt: RESERVED_AT,
  requestId: 'r',
  idempotencyKey: null,
  ...more,
});

const throughJson = (batch: OrderBatch): unknown => JSON.parse(JSON.stringify(encodeJob(batch)));

test('a decoded job equals the batch: with and without keys, with times in any order', () => {
  const batch = {
    saleId: 'tea',
    epoch: 3,
    orders: [
      order(1, { reservedAt: RESERVED_AT + 250 }),
      order(2),
      order(3, { reservedAt: RESERVED_AT + 7, quantity: 10, idempotencyKey: 'key "3"' }),
      order(4, { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` }),
    ],
  };
  expect(decodeJob(throughJson(batch))).toEqual(batch);
});

test('a row has no field names, and nothing that the batch has', () => {
  const [row] = encodeJob({ saleId: 'tea', epoch: 1, orders: [order(1)] }).orders;
  expect(row).toEqual([`${ULID}1`, 'buyer-1', 1, 0, 'r']);
});

const good = encodeJob({ saleId: 'tea', epoch: 1, orders: [order(1)] });

test.each([
  ['no orders', { ...good, orders: [] }],
  ['no time', { ...good, reserved_at: undefined }],
  ['a time that is not an integer', { ...good, reserved_at: 1.5 }],
  ['other columns', { ...good, columns: 'buyer, id' }],
  ['a row that is too short', { ...good, orders: [[`${ULID}1`, 'ann', 1, 0]] }],
  ['a row that is too long', { ...good, orders: [[`${ULID}1`, 'ann', 1, 0, 'r', 'k', 'more']] }],
  ['a key that is null', { ...good, orders: [[`${ULID}1`, 'ann', 1, 0, 'r', null]] }],
  ['a time beyond the range of dates', { ...good, orders: [[`${ULID}1`, 'ann', 1, 8.64e15, 'r']] }],
  ['an order before the first one', { ...good, orders: [[`${ULID}1`, 'ann', 1, -1, 'r']] }],
  ['an id that is not a ULID', { ...good, orders: [['1', 'ann', 1, 0, 'r']] }],
  ['an id with a NUL', { ...good, orders: [[`${ULID}\0`, 'ann', 1, 0, 'r']] }],
  ['an order with field names', { ...good, orders: [{ order_id: `tea-${ULID}1`, buyer_id: 'ann', quantity: 1 }] }],
  ['null', null],
])('not a batch: %s', (_, data) => {
  expect(decodeJob(good)).not.toBeNull();
  expect(decodeJob(data)).toBeNull();
});
