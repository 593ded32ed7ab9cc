/** Audits in tests. */
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import type { World } from './world.ts';

/** Two snapshots in a row are enough if nothing else runs. */
export const AUDIT_BOUNDS = { snapshots: 2, pauseMs: 10, closedMs: 100 };

/** Constraints prevent most violations; a ledger mended by hand may have them. */
export async function allowAnyRow({ pool }: World): Promise<void> {
  const { rows } = await pool.query<{ table: string; name: string }>(
    `SELECT conrelid::regclass::text AS table, conname AS name FROM pg_constraint
      WHERE contype = 'c' AND conrelid IN ('orders'::regclass, 'sales'::regclass)`,
  );
  for (const { table, name } of rows) await pool.query(`ALTER TABLE ${table} DROP CONSTRAINT ${name}`);
  await pool.query('DROP INDEX orders_once_by_key');
}

/** @param saleIds none: every sale that there is */
export function auditHere({ redis, pool, keys }: World, ...saleIds: string[]): Promise<AuditReport> {
  const asked = saleIds.length > 0 ? { saleIds } : {};
  return auditSales({ redis, pool, keys, ...asked, ...AUDIT_BOUNDS });
}

export function codesOf({ sales, queue }: AuditReport): string[] {
  return [...sales.flatMap(({ violations }) => violations), ...queue.violations].map(({ code }) => code).sort();
}
