/** The audit of a live sale: clean while orders come in, and it finds planted leaks. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { beforeAll, expect, test, vi } from 'vitest';
import { sendCrowd } from '../support/buyers.ts';
import { useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

vi.setConfig({ testTimeout: 120_000 });

const AUDITS = 4;
const CONNECTIONS = 50;
/** Crowd, API, worker and audit share this process: more orders would delay the audits. */
const ORDERS_PER_SECOND = 600;

const world = useWorld();
const api = useApi(world);
useWorker(world);
let sale: Sale;

beforeAll(async () => {
  // Never sold out. No buyer reaches the cap; it makes the inventory count each buyer's units.
  sale = await makeSale(world, { units: 1_000_000, perBuyerLimit: 100_000 });
});

const audit = (): Promise<AuditReport> => {
  const { redis, pool, keys } = world;
  // The worker may be far behind.
  return auditSales({ redis, pool, keys, pauseMs: 50, settleMs: 300_000 });
};
const violationsOf = ({ sales, queue }: AuditReport) => [
  ...sales.flatMap(({ violations }) => violations),
  ...queue.violations,
];

/** Until `work` is done, the same buyers order, some with a key; an operator changes the stock. */
async function duringCrowd<Result>(work: () => Promise<Result>): Promise<Result> {
  let done = false;
  const untilDone = async (act: (turn: number) => Promise<unknown>): Promise<void> => {
    for (let turn = 0; !done; turn++) await act(turn);
  };
  const crowd = { urls: [api.url], saleId: sale.id, buyers: 1_000, connections: CONNECTIONS };
  const traffic = [
    untilDone(() => sendCrowd({ ...crowd, ordersPerSecond: ORDERS_PER_SECOND })),
    untilDone((turn) =>
      api.order(sale.id, { buyer: `keyed-${turn % 7}`, key: `key-${Math.floor(turn / 2)}`, body: { quantity: 2 } }),
    ),
    untilDone((turn) =>
      api.admin('POST', `/sales/${sale.id}/stock`, { delta: turn % 2 === 0 ? 5 : -5, reason: 'the truck came' }),
    ),
  ];
  try {
    return await work();
  } finally {
    done = true;
    await Promise.all(traffic);
  }
}

test('[I1] audits of a live sale are clean, and so is one at rest', async () => {
  const reports = await duringCrowd(async () => {
    const all: AuditReport[] = [];
    for (let i = 0; i < AUDITS; i++) all.push(await audit());
    return all;
  });
  expect(reports.flatMap(violationsOf)).toEqual([]);
  expect(reports.filter(({ sales }) => sales[0]?.live).length).toBeGreaterThan(AUDITS / 2);
  const still = await audit();
  expect(still).toMatchObject({ clean: true, sales: [{ equation: { holds: true } }] });
  expect(still.sales[0]?.ledger.confirmed).toBeGreaterThan(1_000);
});

test('an inventory that is rebuilt twice under the crowd is not a violation', async () => {
  const { inventory, reservations } = world.keys.sale(sale.id);
  const reports = await duringCrowd(async () => {
    const all: AuditReport[] = [];
    for (let i = 0; i < AUDITS; i++) {
      if (i === 1) await world.redis.hset(inventory, 'instance_id', 'of-another-instance');
      if (i === 3) await world.redis.del(inventory, reservations);
      all.push(await audit());
    }
    return all;
  });
  expect(reports.flatMap(violationsOf)).toEqual([]);
  expect((await audit()).sales[0]).toMatchObject({ epoch: 3, inventory: 'open', violations: [] });
});

test('leaks planted under the crowd are found', async () => {
  const { inventory, buyers, orderKeys } = world.keys.sale(sale.id);
  const found = await duringCrowd(async () => {
    const codes: Record<string, string[]> = {};
    const plant = async (what: string, deed: () => Promise<unknown>): Promise<void> => {
      await deed();
      codes[what] = [...new Set(violationsOf(await audit()).map(({ code }) => code))].sort();
    };
    await plant('a unit is sold without an order', () =>
      world.redis.multi().hincrby(inventory, 'available', -1).hincrby(inventory, 'sold', 1).exec(),
    );
    await plant('it is given back', () =>
      world.redis.multi().hincrby(inventory, 'available', 1).hincrby(inventory, 'sold', -1).exec(),
    );
    await plant('a buyer has one unit too many', () => world.redis.hincrby(buyers, 'buyer-1', 1));
    await plant('the buyer has it no more', () => world.redis.hincrby(buyers, 'buyer-1', -1));
    const lost = newOrderId(sale.id);
    await plant('an order is lost', () => world.redis.hset(orderKeys, 'keyed-1 lost', `${lost} 1`));
    await plant('the order is found', () => world.redis.hdel(orderKeys, 'keyed-1 lost'));
    await plant('an unreserved order is confirmed', async () => {
      await world.pool.query(
        `WITH sold AS (UPDATE sales SET sold = sold + 1 WHERE id = $2)
         INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at)
         VALUES ($1, $2, 'mallory', 1, 1, 1, 'USD', 'confirmed', 'r', now() - interval '1 second')`,
        [lost, sale.id],
      );
      await world.redis.hset(buyers, 'mallory', 1);
    });
    await plant('a unit too many is available', () => world.redis.hincrby(inventory, 'available', 1));
    return codes;
  });
  expect(found).toEqual({
    'a unit is sold without an order': ['UNITS_WITHOUT_OWNER'],
    'it is given back': [],
    'a buyer has one unit too many': ['BUYER_COUNT_WRONG'],
    'the buyer has it no more': [],
    'an order is lost': ['ORDER_LOST'],
    'the order is found': [],
    'an unreserved order is confirmed': ['UNITS_NOT_COUNTED'],
    'a unit too many is available': ['EQUATION_BROKEN', 'UNITS_NOT_COUNTED'],
  });
});
