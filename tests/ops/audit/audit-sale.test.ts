/** What an audit says of a sale that is well, of one that moves, and how it is printed. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { type AuditReport, exitCodeOf } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales, UnknownSaleError } from '@flash-sale/ops/audit/audit-sale.ts';
import { printAudit } from '@flash-sale/ops/audit/print-audit.ts';
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

describe('a sale that is well', () => {
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
        unjudged: null,
        breaks: [],
      },
    ]);
    expect(printAudit(report).split('\n')).toEqual([
      `${sale.id}   inventory open   epoch 1`,
      '  inventory     10 = 6 available + 1 reserved + 0 held + 3 sold   holds',
      '  ledger   3 of 10 sold, 2 orders confirmed, 1 rejected',
      '',
      '1 sale, 1 look: clean',
      '',
    ]);
  });

  test('made and ordered from through the inventory itself is clean', async () => {
    const sale = await makeSale(world, { perBuyerLimit: 3 });
    await reserveOne(createInventory(world), sale.id, newOrderId(sale.id), { buyerId: 'ünï cödé', quantity: 2 });
    expect(await auditHere(world, sale.id)).toMatchObject({
      clean: true,
      sales: [{ equation: { available: 8, reserved: 2 } }],
    });
  });

  test('may have changes of stock on their way, and none that is finished', async () => {
    const sale = await PlantedSale.make(world);
    await sale.beginChange('added', 5);
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await sale.move({ allotment: 5, available: 5 });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await sale.beginChange('withdrawn', -2);
    await sale.move({ allotment: -2, available: -2 });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await world.pool.query(`UPDATE stock_changes SET state = 'applied' WHERE sale_id = $1`, [sale.id]);
    await world.pool.query('UPDATE sales SET allotment = allotment - 2 WHERE id = $1', [sale.id]);
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await sale.move({ allotment: -5, available: -5 });
    expect(codesOf(await auditHere(world, sale.id))).toEqual(['ALLOTMENT_DIFFERS']);
  });

  test('may have been confirmed before Redis set its clock back', async () => {
    const sale = await PlantedSale.make(world);
    const order = await sale.reserve('eve', 1, { agoMs: -LONG_AGO_MS });
    await sale.confirm(order, 'eve', 1, { agoMs: -LONG_AGO_MS });
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
    await sale.commit(order);
    expect(codesOf(await auditHere(world, sale.id))).toEqual([]);
  });

  test('may have old orders where its inventory was rebuilt a moment ago', async () => {
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

test('an inventory that opens while it is waited for is judged then', async () => {
  const sale = await PlantedSale.make(world);
  const runId = (await world.redis.hget(sale.keys.inventory, 'instance_id')) as string;
  await sale.set({ instance_id: '' });
  await sale.move({ available: 1 });
  const { redis, pool, keys } = world;
  const audited = auditSales({
    redis,
    pool,
    keys,
    saleIds: [sale.id],
    looks: 3,
    pauseMs: 20,
    inventoryPatienceMs: 10_000,
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await sale.set({ instance_id: runId });
  expect(codesOf(await audited)).toEqual(['EQUATION_BROKEN']);
});

describe('an inventory that is shut more than once while it is looked at', () => {
  const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const shutAndOpen = async (sale: PlantedSale) => {
    const runId = (await world.redis.hget(sale.keys.inventory, 'instance_id')) as string;
    return { shut: () => sale.set({ instance_id: '' }), open: () => sale.set({ instance_id: runId }) };
  };
  const audit = (saleId: string, bounds: { looks: number; inventoryPatienceMs: number; lengthMs?: number }) => {
    const { redis, pool, keys } = world;
    return auditSales({ redis, pool, keys, saleIds: [saleId], pauseMs: 10, ...bounds });
  };

  test('was not closed for the time between, in which it was open', async () => {
    const sale = await PlantedSale.make(world);
    const { shut, open } = await shutAndOpen(sale);
    await sale.move({ available: 1 });
    await shut();
    // So many looks that the open inventory is not judged before it is shut again.
    const audited = audit(sale.id, { looks: 1_000, inventoryPatienceMs: 600 });
    await rest(300);
    await open();
    await rest(100);
    await shut();
    await rest(400);
    await sale.move({ available: -1 });
    await open();
    expect(codesOf(await audited)).toEqual([]);
  });

  test('was not closed for the time in which another epoch was', async () => {
    const sale = await PlantedSale.make(world);
    const { shut, open } = await shutAndOpen(sale);
    await shut();
    const audited = audit(sale.id, { looks: 3, inventoryPatienceMs: 600 });
    await rest(400);
    await world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [sale.id]);
    await rest(400);
    await sale.set({ epoch: '2' });
    await open();
    expect(codesOf(await audited)).toEqual([]);
  });

  test('is not judged at last, which is neither clean nor a break', async () => {
    const sale = await PlantedSale.make(world);
    const { shut } = await shutAndOpen(sale);
    await shut();
    let done = false;
    const flapping = (async () => {
      for (let epoch = 2; !done; epoch++) {
        await world.pool.query('UPDATE sales SET epoch = $2 WHERE id = $1', [sale.id, epoch]);
        await rest(50);
      }
    })();
    const report = await audit(sale.id, { looks: 3, inventoryPatienceMs: 400, lengthMs: 1_000 });
    done = true;
    await flapping;
    expect(codesOf(report)).toEqual([]);
    expect(report.clean).toBe(false);
    expect(report.sales[0]?.unjudged).toMatch(
      /^In 1 s the inventory was closed, lost or rebuilt \d+ times, and never stood/,
    );
    expect(exitCodeOf(report)).toBe(2);
    expect(printAudit(report)).toMatch(/\n {2}UNJUDGED In 1 s .*\n\n1 sale, \d+ looks?: 1 not judged\n$/);
  });
});

test('what is gone in a later look is no break', async () => {
  const sale = await PlantedSale.make(world, { perBuyerLimit: 2 });
  await sale.move({ available: -1, sold: 1 });
  await world.redis.hincrby(sale.keys.buyers, 'ann', 1);
  const { redis, pool, keys } = world;
  const audited = auditSales({ redis, pool, keys, saleIds: [sale.id], looks: 5, pauseMs: 100 });
  await new Promise((resolve) => setTimeout(resolve, 150));
  await sale.move({ available: 1, sold: -1 });
  await world.redis.hincrby(sale.keys.buyers, 'ann', -1);
  const report = await audited;
  expect(report).toMatchObject({ clean: true, sales: [{ live: true }] });
  expect(report.looks).toBeGreaterThan(1);
});

test('one code is listed a hundred times, and the rest are counted', async () => {
  const sale = await PlantedSale.make(world);
  const lost = Array.from({ length: 130 }, (_, i) => [`buyer${i} key`, `${newOrderId(sale.id)} 1`]);
  await world.redis.hset(sale.keys.orderKeys, ...lost.flat());
  const { breaks } = (await auditHere(world, sale.id)).sales[0] as AuditReport['sales'][number];
  expect(breaks).toHaveLength(101);
  expect(breaks.at(-1)).toEqual({ code: 'ORDER_LOST', subject: '30 more', detail: 'There are 30 more of these.' });
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

test('a sale that nobody knows cannot be audited', async () => {
  await expect(auditHere(world, 'nobody-knows-it')).rejects.toThrow(UnknownSaleError);
});

test('what people read holds no control characters', async () => {
  const sale = await PlantedSale.make(world);
  await world.redis.hset(sale.keys.claims, '\u001b[2Jgone\n', 1);
  const report = await auditHere(world, sale.id);
  expect(printAudit(report)).toContain('BREAK    CLAIM_WITHOUT_RESERVATION  �[2Jgone�  ');
  expect(printAudit(report)).toMatch(/1 break\n$/);
});
