/** Ledger and inventory at the end, read without product code, and the project's own audit. */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { listFaults } from '../support/list-faults.ts';
import type { EndState, LedgerRow, SaleEnd } from './calls.ts';
import { type ChaosSystem, KEY_PREFIX } from './system.ts';

const keys = createKeys(KEY_PREFIX);

export async function readEnd(system: ChaosSystem): Promise<EndState> {
  const rows = await system.askPostgres<LedgerRow>(
    `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, status, reason,
            (amount * 100)::int AS "amountCents", request_id AS "requestId", idempotency_key AS key
       FROM orders ORDER BY id`,
  );
  const ledger = await system.askPostgres<{ id: string; allotment: number; sold: number }>(
    'SELECT id, allotment, sold FROM sales ORDER BY id',
  );
  const changes = await system.askPostgres<{ id: string; state: string }>('SELECT id, state FROM stock_changes');
  const sales: SaleEnd[] = [];
  for (const { id, allotment, sold } of ledger)
    sales.push({ saleId: id, ledger: { allotment, sold }, inventory: await readInventory(system, id) });
  return { rows, sales, changes: new Map(changes.map(({ id, state }) => [id, state])) };
}

async function readInventory(system: ChaosSystem, saleId: string): Promise<SaleEnd['inventory']> {
  const { inventory, reservations } = keys.sale(saleId);
  const fields = ['allotment', 'available', 'reserved', 'sold'] as const;
  const found = (await system.askRedis('HMGET', inventory, ...fields)) as (string | null)[];
  if (found.includes(null)) return null;
  const [allotment, available, reserved, sold] = found.map(Number) as [number, number, number, number];
  return { allotment, available, reserved, sold, reservations: Number(await system.askRedis('HLEN', reservations)) };
}

/** @returns false also if an inventory does not exist */
export async function nothingIsReserved(system: ChaosSystem, saleIds: readonly string[]): Promise<boolean> {
  for (const id of saleIds) {
    const inventory = await readInventory(system, id).catch(() => null);
    if (inventory === null || inventory.reserved + inventory.reservations > 0) return false;
  }
  return true;
}

/** @returns a line for each violation of the audit, and each sale that it could not check */
export async function auditViolations(system: ChaosSystem): Promise<string[]> {
  const urls = { redisUrl: system.url('redis'), databaseUrl: system.url('postgres'), prefix: KEY_PREFIX };
  const { redis, pool, close } = await connectStores(urls, 'flash-sale-audit');
  try {
    return listFaults(await auditSales({ redis, pool, keys }));
  } finally {
    await close();
  }
}
