/** Audits of sales without violations, of live sales and closed inventories, and the printout. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type AuditReport, exitCodeOf, printAudit } from '@flash-sale/ops/audit/audit-report.ts';
import { type AuditOptions, auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { AUDIT_BOUNDS, auditHere, codesOf } from '../../support/audited.ts';
import { PlantedSale } from '../../support/planted-sale.ts';
import { makeSale, reserveOne } from '../../support/sales.ts';
import { openWorld, type World } from '../../support/world.ts';

let world: World;

beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

const LONG_AGO_MS = 60_000;
const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function audit(saleId: string, bounds: Partial<AuditOptions>): Promise<AuditReport> {
  const { redis, pool, keys } = world;
  return auditSales({ redis, pool, keys, saleIds: [saleId], pauseMs: 10, ...bounds });
}

describe('a sale without violations', () => {
  test('is clean, and printed as an equation', async () => {
    const sale = await PlantedSale.make(world, { units: 10, perBuyerLimit: 2 });
    const report = await auditHere(world, sale.id);
    expect(report.sales).toEqual([
      {
        saleId: sale.id,
        epoch: 1,
        inventory: 'open',
        equation: { allotment: 10, available: 6, reserved: 1, held: 0, sold: 3, holds: true },
        ledger: { allotment: 10, sold: 3, confirmed: 2, rejected: 1 },
        live: false,
        unchecked: null,
        violations: [],
      },
    ]);
    expect(printAudit(report).split('\n')).toEqual([
      `${sale.id}   inventory open   epoch 1`,
      '  inventory  10 = 6 available + 1 reserved + 0 held + 3 sold   balances',
      '  ledger     3 of 10 sold, 2 orders confirmed, 1 rejected',
      '',
      '1 sale, 1 snapshot: clean',
      '',
    ]);
  });

  test('may have been created and ordered from through the inventory itself', async () => {
    const sale = await makeSale(world, { perBuyerLimit: 3 });
    await reserveOne(createInventory(world), sale.id, newOrderId(sale.id), { buyerId: 'ünï cödé', quantity: 2 });
    expect(await auditHere(world, sale.id)).toMatchObject({
      clean: true,
      sales: [{ equation: { available: 8, reserved: 2 } }],
    });
  });

  test('may have changes of stock and settings in progress, and none that is settled', async () => {
    const sale = await PlantedSale.make(world);
    const settle = async (state: string) => {
      await world.pool.query('UPDATE stock_changes SET state = $2 WHERE sale_id = $1', [sale.id, state]);
      return codesOf(await auditHere(world, sale.id));
    };
    await sale.beginChange('added', 5);
    expect(await settle('pending')).toEqual([]);
    await sale.move({ allotment: 5, available: 5 });
    expect(await settle('applied')).toEqual([]);
    await sale.beginChange('withdrawn', -2);
    await sale.move({ allotment: -2, available: -2 });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await world.pool.query('UPDATE sales SET allotment = allotment - 2 WHERE id = $1', [sale.id]);
    expect(await settle('applied')).toEqual([]);
    await sale.move({ allotment: -5, available: -5 });
    expect(codesOf(await auditHere(world, sale.id))).toEqual(['ALLOTMENT_DIFFERS']);

    await sale.move({ allotment: 5, available: 5 });
    await world.pool.query('UPDATE sales SET paused = true, version = 2 WHERE id = $1', [sale.id]);
    expect(codesOf(await auditHere(world, sale.id))).toEqual(['SETTINGS_DIFFER', 'SETTINGS_DIFFER']);
    await world.pool.query('UPDATE operator_actions SET at = now() WHERE sale_id = $1', [sale.id]);
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  });

  test('may have been confirmed before Redis set its clock back', async () => {
    const sale = await PlantedSale.make(world);
    const order = await sale.reserve('eve', 1, { agoMs: -LONG_AGO_MS });
    await sale.confirm(order, 'eve', 1, { agoMs: -LONG_AGO_MS });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await sale.commit(order);
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  });

  test('may have old orders if its inventory was rebuilt a moment ago', async () => {
    const sale = await PlantedSale.make(world);
    await sale.reserve('eve', 1, { agoMs: LONG_AGO_MS });
    await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
    await sale.set({ epoch: '2' });
    await world.pool.query(
      `INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at, opened_at)
       VALUES ($1, 2, 'other_server', now() - interval '2 minutes', now() - interval '5 seconds')`,
      [sale.id],
    );
    await sale.addJob([newOrderId(sale.id)], { epoch: 1, agoMs: LONG_AGO_MS });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await world.pool.query(`UPDATE inventory_epochs SET opened_at = now() - interval '1 minute' WHERE sale_id = $1`, [
      sale.id,
    ]);
    expect(codesOf(await auditHere(world, sale.id))).toEqual(['ORDER_STUCK', 'ORDER_STUCK']);
  });
});

describe('a closed inventory', () => {
  const control = async (sale: PlantedSale) => {
    const instance = (await world.redis.hget(sale.keys.inventory, 'instance_id')) as string;
    return { close: () => sale.set({ instance_id: '' }), open: () => sale.set({ instance_id: instance }) };
  };

  test('is checked once it opens', async () => {
    const sale = await PlantedSale.make(world);
    const { close, open } = await control(sale);
    await close();
    await sale.move({ available: 1 });
    const audited = audit(sale.id, { closedMs: 10_000 });
    await rest(100);
    await open();
    expect(codesOf(await audited)).toEqual(['EQUATION_BROKEN']);
  });

  test('is a violation only if one and the same inventory stays closed', async () => {
    const sale = await PlantedSale.make(world);
    const { close, open } = await control(sale);
    await sale.move({ available: 1 });
    await close();
    // So many snapshots that the open inventory is not decided before it closes again.
    // Each time is half of what is allowed, all together are more.
    const audited = audit(sale.id, { snapshots: 1_000, closedMs: 1_600 });
    await rest(800);
    await open();
    await rest(100);
    await close();
    await rest(800);
    await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
    await rest(800);
    await sale.set({ epoch: '2' });
    await sale.move({ available: -1 });
    await open();
    expect(codesOf(await audited)).toEqual([]);
  });

  test('that is rebuilt again and again is not checked: neither clean nor a violation', async () => {
    const sale = await PlantedSale.make(world);
    await (await control(sale)).close();
    let done = false;
    const flapping = (async () => {
      for (let epoch = 2; !done; epoch++) {
        await world.pool.query('UPDATE sales SET epoch = $2 WHERE id = $1', [sale.id, epoch]);
        await rest(50);
      }
    })();
    const report = await audit(sale.id, { closedMs: 400, maxMs: 1_000 });
    done = true;
    await flapping;
    expect(codesOf(report)).toEqual([]);
    expect(report.clean).toBe(false);
    expect(report.sales[0]?.unchecked).toMatch(/^In 1 s the inventory was closed, lost or rebuilt \d+ times\./);
    expect(exitCodeOf(report)).toBe(2);
    expect(printAudit(report)).toMatch(/\n {2}UNCHECKED {2}In 1 s .*\n\n1 sale, \d+ snapshots?: 1 not checked\n$/);
  });

  test('of a sale that was never opened is missing', async () => {
    const report = await auditHere(world, await PlantedSale.insertOnly(createSaleStore(world.pool), 'never-opened'));
    expect(report).toMatchObject({ sales: [{ inventory: 'missing', equation: null }] });
    expect(codesOf(report)).toEqual(['INVENTORY_MISSING']);
  });
});

test('what a later snapshot does not contain is no violation', async () => {
  const sale = await PlantedSale.make(world, { perBuyerLimit: 2 });
  await sale.move({ available: -1, sold: 1 });
  await world.redis.hincrby(sale.keys.buyers, 'ann', 1);
  const audited = audit(sale.id, { snapshots: 5, pauseMs: 100 });
  await rest(150);
  await sale.move({ available: 1, sold: -1 });
  await world.redis.hincrby(sale.keys.buyers, 'ann', -1);
  const report = await audited;
  expect(report).toMatchObject({ clean: true, sales: [{ live: true }] });
  expect(report.snapshots).toBeGreaterThan(1);
});

test('one code is listed a hundred times, and the rest is counted', async () => {
  const sale = await PlantedSale.make(world);
  const lost = Array.from({ length: 130 }, (_, i) => [`buyer${i} key`, `${newOrderId(sale.id)} 1`]);
  await world.redis.hset(sale.keys.orderKeys, ...lost.flat());
  const { violations } = (await auditHere(world, sale.id)).sales[0] as AuditReport['sales'][number];
  expect(violations).toHaveLength(101);
  expect(violations.at(-1)).toEqual({ code: 'ORDER_LOST', subject: '30 more', detail: 'There are 30 more of these.' });
});

test('without ids every sale is audited, and a sale that only a job knows', async () => {
  const own = await openWorld(inject('template'));
  try {
    const sale = await PlantedSale.make(own);
    const { redis, pool, keys } = own;
    const audited = () => auditSales({ redis, pool, keys, ...AUDIT_BOUNDS });
    expect(await audited()).toMatchObject({ clean: true, sales: [{ saleId: sale.id }] });
    await sale.addJob([newOrderId('ghost')], { saleId: 'ghost' });
    const report = await audited();
    expect(report.sales.map(({ saleId }) => saleId)).toEqual([sale.id, 'ghost']);
    expect(codesOf(report)).toEqual(['SALE_NOT_IN_LEDGER']);
  } finally {
    await own.close();
  }
});

test('an unknown sale cannot be audited', async () => {
  await expect(auditHere(world, 'nobody-knows-it')).rejects.toThrow('There is no sale "nobody-knows-it"');
});

test('what is printed has no control characters', async () => {
  const sale = await PlantedSale.make(world);
  await world.redis.hset(sale.keys.claims, '\u001b[2Jgone\n', 1);
  const printed = printAudit(await auditHere(world, sale.id));
  expect(printed).toContain('  VIOLATION  CLAIM_WITHOUT_RESERVATION  �[2Jgone�  ');
  expect(printed).toMatch(/1 violation\n$/);
});
