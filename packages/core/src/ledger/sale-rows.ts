/** Rows of the table `sales`, as every store of the ledger reads them. */
import type { Sale } from '../domain/sale.ts';
import type { Client } from './connect-postgres.ts';

/** A sale with the ledger's own count of units. */
export interface LedgerSale extends Sale {
  /** Units confirmed. */
  readonly sold: number;
}

export type SaleRow = Omit<LedgerSale, 'startsAt' | 'endsAt'> & { startsAt: Date; endsAt: Date };

export const SALE_COLUMNS = `id, name, description, original_price::text AS "originalPrice",
  flash_sale_price::text AS "flashSalePrice", currency, allotment, sold,
  per_buyer_limit AS "perBuyerLimit", starts_at AS "startsAt", ends_at AS "endsAt", paused, version,
  inventory_version AS "inventoryVersion", epoch`;

export const CHANGE_COLUMNS = 'id, sale_id AS "saleId", delta, reason, state, actor, request_id AS "requestId"';

export function toSale(row: SaleRow): LedgerSale {
  return { ...row, startsAt: row.startsAt.getTime(), endsAt: row.endsAt.getTime() };
}

/** @returns null if the sale is unknown */
export async function readSale(
  client: Pick<Client, 'query'>,
  saleId: string,
  lock: '' | 'FOR NO KEY UPDATE' = '',
): Promise<LedgerSale | null> {
  const { rows } = await client.query<SaleRow>(`SELECT ${SALE_COLUMNS} FROM sales WHERE id = $1 ${lock}`, [saleId]);
  return rows[0] ? toSale(rows[0]) : null;
}

/**
 * Locks the sale's row until the transaction ends: batches of one sale wait for each other here,
 * instead of deadlocking over the same orders, and the sale's epoch stays the same.
 *
 * @returns null if the sale is unknown
 */
export const lockSale = (client: Client, saleId: string) => readSale(client, saleId, 'FOR NO KEY UPDATE');

/** I2: the guard against oversell. @returns false if the allotment has no room */
export async function raiseSold(client: Client, saleId: string, units: number): Promise<boolean> {
  const { rowCount } = await client.query(
    'UPDATE sales SET sold = sold + $2 WHERE id = $1 AND sold + $2 <= allotment',
    [saleId, units],
  );
  return rowCount === 1;
}
