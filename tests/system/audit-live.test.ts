/** The audit of a live sale: it is clean while everything moves, and it finds a leak in the middle of it. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { sendCrowd } from '../support/buyers.ts';
import { ADMIN_TOKEN, type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 120_000 });

const AUDITS = 6;
const CONNECTIONS = 200;

let world: World;
let api: RunningApi;
let worker: { stop(): Promise<void> };
let sale: Sale;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  api = await startApi(world);
  worker = await startWorkerHere(world);
  // Never sold out, and with a cap that nobody reaches: the units of each buyer are counted.
  sale = await makeSale(world, { units: 1_000_000, perBuyerLimit: 100_000 });
});
afterAll(async () => {
  await api.close();
  await worker.stop();
  await world.close();
});

const audit = (): Promise<AuditReport> => {
  const { redis, pool, keys } = world;
  // Crowd, API, worker and audit share this process: the worker may be far behind.
  return auditSales({ redis, pool, keys, pauseMs: 50, settleMs: 300_000 });
};
const violationsOf = ({ sales, queue }: AuditReport) => [
  ...sales.flatMap(({ violations }) => violations),
  ...queue.violations,
];

/** The same buyers order again and again until `work` is done, some of them with a key; an operator changes the stock. */
async function duringCrowd<Result>(work: () => Promise<Result>): Promise<Result> {
  let done = false;
  const untilDone = async (act: (turn: number) => Promise<unknown>): Promise<void> => {
    for (let turn = 0; !done; turn++) await act(turn);
  };
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${ADMIN_TOKEN}` };
  const post = async (path: string, more: Record<string, string>, body: object): Promise<void> => {
    const response = await fetch(`${api.url}/api/${path}`, {
      method: 'POST',
      headers: { ...headers, ...more },
      body: JSON.stringify(body),
    });
    await response.arrayBuffer();
  };
  const crowd = untilDone(() =>
    sendCrowd({ urls: [api.url], saleId: sale.id, buyers: 1_000, connections: CONNECTIONS }),
  );
  const withKeys = untilDone((turn) =>
    post(
      `flash-sales/${sale.id}/order`,
      { 'x-user-id': `keyed-${turn % 7}`, 'idempotency-key': `key-${Math.floor(turn / 2)}` },
      { quantity: 2 },
    ),
  );
  const operator = untilDone((turn) =>
    post(`admin/sales/${sale.id}/stock`, {}, { delta: turn % 2 === 0 ? 5 : -5, reason: 'the truck came' }),
  );
  try {
    return await work();
  } finally {
    done = true;
    await Promise.all([crowd, withKeys, operator]);
  }
}

test(`audited ${AUDITS} times under ${CONNECTIONS} connections it is clean each time, and once nothing moves`, async () => {
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

test('an inventory that is rebuilt twice under the same crowd is no violation', async () => {
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

test('leaks that are planted under the same crowd are found', async () => {
  const { inventory, buyers, orderKeys } = world.keys.sale(sale.id);
  const found = await duringCrowd(async () => {
    const codes: Record<string, string[]> = {};
    const plant = async (what: string, deed: () => Promise<unknown>): Promise<void> => {
      await deed();
      codes[what] = [...new Set(violationsOf(await audit()).map(({ code }) => code))].sort();
    };
    await plant('a unit is sold to nobody', () =>
      world.redis.multi().hincrby(inventory, 'available', -1).hincrby(inventory, 'sold', 1).exec(),
    );
    await plant('and given back', () =>
      world.redis.multi().hincrby(inventory, 'available', 1).hincrby(inventory, 'sold', -1).exec(),
    );
    await plant('a buyer is counted one unit too many', () => world.redis.hincrby(buyers, 'buyer-1', 1));
    await plant('and no more', () => world.redis.hincrby(buyers, 'buyer-1', -1));
    const lost = newOrderId(sale.id);
    await plant('an order is lost', () => world.redis.hset(orderKeys, 'keyed-1 lost', `${lost} 1`));
    await plant('and found', () => world.redis.hdel(orderKeys, 'keyed-1 lost'));
    await plant('an order is confirmed that nobody reserved', async () => {
      await world.pool.query(
        `WITH sold AS (UPDATE sales SET sold = sold + 1 WHERE id = $2)
         INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at)
         VALUES ($1, $2, 'mallory', 1, 1, 1, 'USD', 'confirmed', 'r', now() - interval '1 second')`,
        [lost, sale.id],
      );
      await world.redis.hset(buyers, 'mallory', 1);
    });
    await plant('and a unit comes out of nowhere', () => world.redis.hincrby(inventory, 'available', 1));
    return codes;
  });
  expect(found).toEqual({
    'a unit is sold to nobody': ['UNITS_WITHOUT_OWNER'],
    'and given back': [],
    'a buyer is counted one unit too many': ['BUYER_COUNT_WRONG'],
    'and no more': [],
    'an order is lost': ['ORDER_LOST'],
    'and found': [],
    'an order is confirmed that nobody reserved': ['UNITS_NOT_COUNTED'],
    'and a unit comes out of nowhere': ['EQUATION_BROKEN', 'UNITS_NOT_COUNTED'],
  });
});
