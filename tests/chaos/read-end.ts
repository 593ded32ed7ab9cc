/** Reads what ledger and inventory hold in the end, by SQL and commands of its own: none of the product's stores is asked. */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import pg from 'pg';
import type { EndState, LedgerRow, SaleEnd } from './history.ts';
import { KEY_PREFIX, type Parts } from './parts.ts';

export async function readEnd(parts: Parts): Promise<EndState> {
  const client = new pg.Client({ connectionString: parts.server('postgres').url });
  await client.connect();
  try {
    const { rows } = await client.query<LedgerRow>(
      `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, status, reason,
              (amount * 100)::int AS "amountCents", request_id AS "requestId", idempotency_key AS key
         FROM orders ORDER BY id`,
    );
    const { rows: sales } = await client.query<{ id: string; allotment: number; sold: number }>(
      'SELECT id, allotment, sold FROM sales ORDER BY id',
    );
    const { rows: changes } = await client.query<{ id: string; state: string }>('SELECT id, state FROM stock_changes');
    const ends: SaleEnd[] = [];
    for (const { id, allotment, sold } of sales) {
      ends.push({ saleId: id, ledger: { allotment, sold }, inventory: await readInventory(parts, id) });
    }
    return { rows, sales: ends, changes: new Map(changes.map((change) => [change.id, change.state])) };
  } finally {
    await client.end();
  }
}

async function readInventory(parts: Parts, saleId: string): Promise<SaleEnd['inventory']> {
  const keys = createKeys(KEY_PREFIX).sale(saleId);
  const fields = ['allotment', 'available', 'reserved', 'sold'] as const;
  const found = (await parts.askRedis('HMGET', keys.inventory, ...fields)) as (string | null)[];
  const [allotment, available, reserved, sold] = found.map(Number) as [number, number, number, number];
  if (found.includes(null)) return null;
  const reservations = Number(await parts.askRedis('HLEN', keys.reservations));
  return { allotment, available, reserved, sold, reservations };
}

/** Units that are still reserved, over all sales; -1 where an inventory is not there. */
export async function reservedUnits(parts: Parts, saleIds: readonly string[]): Promise<number> {
  let sum = 0;
  for (const id of saleIds) {
    const inventory = await readInventory(parts, id).catch(() => null);
    if (inventory === null) return -1;
    sum += inventory.reserved + inventory.reservations;
  }
  return sum;
}
