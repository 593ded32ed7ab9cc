/** Audits in tests: quick ones, in a ledger that takes any row. */

import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { expect } from 'vitest';
import { PlantedSale } from './planted-sale.ts';
import type { World } from './world.ts';

/** The bounds of a test: looks are as in earnest, pauses are not. */
export const AUDIT_BOUNDS = { looks: 3, pauseMs: 20, inventoryPatienceMs: 150 };

/**
 * What the tables refuse cannot be planted, and is looked for all the same: a ledger may have been restored or mended by hand.
 */
export async function allowAnyRow({ pool }: World): Promise<void> {
  const { rows } = await pool.query<{ table: string; name: string }>(
    `SELECT conrelid::regclass::text AS table, conname AS name FROM pg_constraint
      WHERE contype = 'c' AND conrelid IN ('orders'::regclass, 'sales'::regclass)`,
  );
  for (const { table, name } of rows) await pool.query(`ALTER TABLE ${table} DROP CONSTRAINT ${name}`);
  await pool.query('DROP INDEX orders_once_by_key');
}

export function auditHere({ redis, pool, keys }: World, ...saleIds: string[]): Promise<AuditReport> {
  return auditSales({ redis, pool, keys, saleIds, ...AUDIT_BOUNDS });
}

export function codesOf({ sales, queue }: AuditReport): string[] {
  return [...sales.flatMap(({ breaks }) => breaks), ...queue.breaks].map(({ code }) => code).sort();
}

export interface BreakCase {
  /** The one that is planted, and those that come with it, with spaces between them. */
  readonly codes: string;
  readonly when: string;
  /** @returns the subject that is to be named */
  plant(sale: PlantedSale): Promise<string>;
}

/** A sale that is clean, and then has exactly that break. */
export async function expectBreak(world: World, { codes, plant }: BreakCase): Promise<void> {
  const sale = await PlantedSale.make(world, { units: 10, perBuyerLimit: 2 });
  const before = await auditHere(world, sale.id);
  expect(before).toMatchObject({ clean: true, sales: [{ inventory: 'open', breaks: [] }] });
  const subject = await plant(sale);
  const report = await auditHere(world, sale.id);
  expect(codesOf(report)).toEqual(codes.split(' '));
  expect(report.clean).toBe(false);
  const found = report.sales[0]?.breaks.find(({ code }) => code === codes.split(' ')[0]);
  expect(found?.subject).toBe(subject);
  expect(found?.detail).toMatch(/^[A-Z\d].*\.$/);
}
