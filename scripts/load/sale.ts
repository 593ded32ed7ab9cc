/** Creates and reads the sale of a load test, and compares it with the replies. */
import { setTimeout as pause } from 'node:timers/promises';
import { callOperatorApi, type Operator } from '@flash-sale/launcher/operator-api.ts';
import type { Crowd } from './crowd.ts';

const SETTLED_WITHIN_MS = 30_000;
const READ_EVERY_MS = 500;
/** Longer than any scenario or bench. */
const OPEN_FOR_MS = 3_600_000;

/** All in units. */
export interface SaleNumbers {
  readonly allotment: number;
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
  readonly ledger: { readonly allotment: number; readonly sold: number };
}

export interface Check {
  readonly what: string;
  readonly holds: boolean;
}

let created = 0;

/** @returns the id of a new sale that is open now */
export async function createSale(operator: Operator, name: string, units: number, perBuyerLimit = 0): Promise<string> {
  // biome-ignore lint/plugin/wall-time: the sale's window
  const now = Date.now();
  const id = `load-${name}-${now.toString(36)}${++created}`;
  await callOperatorApi(operator, '', [201], {
    product_id: id,
    name: `Load: ${name}`,
    original_price: '2.00',
    flash_sale_price: '1.00',
    currency: 'USD',
    units,
    per_buyer_limit: perBuyerLimit,
    // A minute ago, because this machine's clock may be ahead of Redis's clock.
    starts_at: new Date(now - 60_000).toISOString(),
    ends_at: new Date(now + OPEN_FOR_MS).toISOString(),
  });
  return id;
}

export async function readSale(operator: Operator, saleId: string): Promise<SaleNumbers> {
  const { body } = await callOperatorApi(operator, `/${saleId}`, [200]);
  return body as unknown as SaleNumbers;
}

/**
 * Waits until every accepted order is in the ledger, at most SETTLED_WITHIN_MS. Two reads must
 * agree, because orders that the end of the load interrupted may still be in flight.
 */
export async function readSettledSale(operator: Operator, saleId: string, signal: AbortSignal): Promise<SaleNumbers> {
  const deadline = performance.now() + SETTLED_WITHIN_MS;
  for (let last = await readSale(operator, saleId); ; ) {
    await pause(READ_EVERY_MS);
    signal.throwIfAborted();
    const sale = await readSale(operator, saleId);
    const settled = sale.reserved === 0 && sale.sold === sale.ledger.sold && sale.sold === last.sold;
    if (settled || performance.now() >= deadline) return sale;
    last = sale;
  }
}

/** Units taken between the two reads. */
export function unitsTaken(before: SaleNumbers, after: SaleNumbers): number {
  return before.available + (after.allotment - before.allotment) - after.available;
}

export function checkSale(before: SaleNumbers, after: SaleNumbers, crowd: Crowd): Check[] {
  const taken = unitsTaken(before, after);
  const confirmed = after.ledger.sold - before.ledger.sold;
  const cutOff = taken - crowd.accepted;
  return [
    { what: 'every reply was a 200, or a 400 or 429 with a code', holds: crowd.unexpected === 0 },
    {
      what: `units taken (${taken}) = accepted (${crowd.accepted}) + at most ${crowd.unanswered} unanswered`,
      holds: cutOff >= 0 && cutOff <= crowd.unanswered,
    },
    { what: `units confirmed in the ledger (${confirmed}) = units taken`, holds: confirmed === taken },
    { what: 'no unit is still reserved', holds: after.reserved === 0 },
    {
      what: 'available + reserved + sold = allotment',
      holds: after.available + after.reserved + after.sold === after.allotment,
    },
    { what: 'available is not below 0', holds: after.available >= 0 },
    { what: 'the ledger sold no more than the allotment', holds: after.ledger.sold <= after.ledger.allotment },
    { what: 'units were sold, if any were available', holds: taken > 0 || before.available === 0 },
    { what: 'SOLD_OUT was answered only if no unit was left', holds: !crowd.refused.SOLD_OUT || after.available === 0 },
    ...crowd.failures.map((failure) => ({ what: failure, holds: false })),
  ];
}
