/** How looks become a judgement: a small leak beside a crowd is found, and what is on its way is not. */
import { describe, expect, test } from 'vitest';
import { suspect } from './audit-report.ts';
import { judgeOrders, type OrdersSeen } from './judge-orders.ts';
import { breaksOf, isDecided, type Opinion, type Said, weigh } from './weigh-looks.ts';

const LOOKS = 3;
const SOLD = 'sold';

/** What a look says of an inventory that counts `sold` units, where orders of before it hold 100 and orders of its millisecond `sameMs`. */
function look(sold: number, sameMs = 0): Said {
  const sale = { perBuyerLimit: 0, epoch: 1 };
  const fields = new Map(
    Object.entries({ allotment: '1000', available: `${1000 - sold}`, reserved: '0', sold: `${sold}` }),
  );
  const inventory = { at: 0, fields, reservations: new Map(), buyers: new Map(), orderKeys: new Map() };
  const ledger = { sale, confirmed: { before: 100, sameMs }, orders: new Map(), keyOwners: new Map(), overCap: [] };
  return judgeOrders({ saleId: 'sale', jobs: [], inventory, ledger, stuckAfterMs: 1 } as unknown as OrdersSeen);
}

function codesAfter(...looks: Said[]): string[] | 'open' {
  let opinion: Opinion | null = null;
  for (const one of looks) opinion = weigh(opinion, one);
  return opinion && isDecided(opinion, LOOKS) ? breaksOf(opinion, LOOKS).map(({ code }) => code) : 'open';
}

describe('orders of the very millisecond of a look', () => {
  test('hide a leak of their size: that look is not a clean one', () => {
    expect(look(101, 3)).toEqual({ suspects: [], doubts: [SOLD] });
    expect(look(100, 3)).toEqual({ suspects: [], doubts: [SOLD] });
    expect(codesAfter(look(101, 3))).toBe('open');
    expect(codesAfter(look(101, 3), look(101), look(101), look(101))).toEqual(['UNITS_WITHOUT_OWNER']);
    expect(codesAfter(look(101, 3), look(100))).toEqual([]);
  });

  test('neither clear a suspicion nor count for it', () => {
    expect(codesAfter(look(101), look(101, 1), look(101))).toBe('open');
    expect(codesAfter(look(101), look(101, 1), look(101), look(102, 5), look(101))).toEqual(['UNITS_WITHOUT_OWNER']);
    expect(codesAfter(look(99), look(100, 1), look(99), look(99))).toEqual(['UNITS_NOT_COUNTED']);
    expect(codesAfter(look(101), look(101, 1), look(100))).toEqual([]);
  });

  test('may make a difference look smaller than it is', () => {
    expect(look(105, 3).suspects).toMatchObject([{ code: 'UNITS_WITHOUT_OWNER', least: 2, most: 5 }]);
    expect(look(95, 3).suspects).toMatchObject([{ code: 'UNITS_NOT_COUNTED', least: -5, most: -8 }]);
    expect(codesAfter(look(105), look(105, 3), look(105))).toEqual(['UNITS_WITHOUT_OWNER']);
    expect(codesAfter(look(105, 3), look(105), look(105, 4))).toEqual(['UNITS_WITHOUT_OWNER']);
    expect(codesAfter(look(95), look(96, 3), look(95))).toEqual(['UNITS_NOT_COUNTED']);
  });
});

test('a difference that shrinks, changes its sign or is gone once is on its way', () => {
  expect(codesAfter(look(105), look(104), look(104))).toEqual([]);
  expect(codesAfter(look(105), look(104, 0), look(105))).toEqual([]);
  expect(codesAfter(look(101), look(99), look(101))).toEqual([]);
  expect(codesAfter(look(101), look(100), look(101), look(101))).toEqual([]);
  expect(codesAfter(look(101), look(102), look(103))).toEqual(['UNITS_WITHOUT_OWNER']);
});

test('what was well once is not asked again', () => {
  const lost = suspect('ORDER_LOST', 'x', 'Lost.');
  expect(codesAfter(look(100), { suspects: [lost], doubts: [SOLD] })).toEqual([]);
});
