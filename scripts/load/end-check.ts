/** Holds the numbers of the sale against what its crowd was answered. */
import type { Crowd } from './crowd.ts';
import type { SaleNumbers } from './operator.ts';

export interface Finding {
  readonly what: string;
  readonly holds: boolean;
}

/** Units that left the stock in between. */
export function unitsTaken(before: SaleNumbers, after: SaleNumbers): number {
  return before.available + (after.allotment - before.allotment) - after.available;
}

export function endCheck(run: { before: SaleNumbers; after: SaleNumbers; crowd: Crowd }): Finding[] {
  const { before, after, crowd } = run;
  const taken = unitsTaken(before, after);
  const risen = after.ledger.sold - before.ledger.sold;
  const soldOut = crowd.refused.SOLD_OUT ?? 0;
  const cutOff = taken - crowd.accepted;
  return [
    { what: 'every reply was 200, or 400 or 429 with a code', holds: crowd.unlawful === 0 },
    crowd.unanswered === 0
      ? { what: `accepted orders (${crowd.accepted}) = units taken (${taken})`, holds: cutOff === 0 }
      : {
          what: `units taken (${taken}) = accepted orders (${crowd.accepted}) + ${cutOff} of ${crowd.unanswered} that were cut off`,
          holds: cutOff >= 0 && cutOff <= crowd.unanswered,
        },
    { what: `the ledger sold as many more (${risen})`, holds: risen === taken },
    { what: 'no unit is still reserved', holds: after.reserved === 0 },
    { what: 'available + reserved + sold = allotment', holds: isWhole(after) },
    { what: 'available is not below 0', holds: after.available >= 0 },
    {
      what: 'the ledger did not sell more than the allotment',
      holds: after.ledger.sold <= after.ledger.allotment,
    },
    { what: 'units were sold, where there were any', holds: taken > 0 || before.available === 0 },
    // The crowd that counts is the part that the limits let through to the stock.
    soldOut > 0
      ? { what: 'the crowd was larger than the stock, and no unit is left', holds: after.available === 0 }
      : { what: 'nobody was told "sold out"', holds: true },
    ...crowd.failures.map((failure) => ({ what: failure, holds: false })),
  ];
}

function isWhole({ allotment, available, reserved, sold }: SaleNumbers): boolean {
  return available + reserved + sold === allotment;
}
