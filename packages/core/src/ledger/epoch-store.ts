/**
 * What the ledger gives to an inventory that is rebuilt: a number for its life, and everything that it must know. Where the epoch was raised, no
 * order of an earlier one is confirmed any more before the inventory is open (order-store.ts), so that what is read here stays true.
 */
import { REBUILD_STATEMENT_MS } from '../config/limits.ts';
import type { Sale, StockChange } from '../domain/sale.ts';
import { type Client, inTransaction, type Pool } from './connect-postgres.ts';
import { ORDERS_OF_SALE } from './orders-of-sale.ts';
import { readSale } from './sale-store.ts';

/** What was wrong with an inventory, as lua/check-inventory.lua says it; asked_for: a person wants it rebuilt. */
export type EpochReason = 'missing' | 'other_server' | 'closed' | 'behind' | 'ahead' | 'inconsistent' | 'asked_for';

/** Rows that are fetched and handed on together. */
const CHUNK = 1_000;

export interface InventorySource {
  readonly sale: Sale & { readonly sold: number };
  /** Every change that was decided or is under way. */
  readonly changes: readonly StockChange[];
  /** Units that a buyer's confirmed orders hold. */
  buyers(take: (chunk: readonly { buyerId: string; units: number }[]) => Promise<void>): Promise<void>;
  /** One order for each idempotency key: the confirmed one, or where there is none the first that was rejected. */
  keys(
    take: (
      chunk: readonly { buyerId: string; idempotencyKey: string; id: string; quantity: number; confirmed: boolean }[],
    ) => Promise<void>,
  ): Promise<void>;
}

export type EpochStore = ReturnType<typeof createEpochStore>;

export function createEpochStore(pool: Pool) {
  return {
    /**
     * Raises the sale's epoch. Waits for confirmations that are under way: they are in what is read afterwards.
     *
     * @param inventoryEpoch of the inventory that is to be closed, which a lower one would not close: a restored ledger may be behind it
     * @param closedMs milliseconds since admission was first seen to be closed
     * @returns the new epoch, or null where the sale is unknown
     */
    async begin(
      saleId: string,
      { reason, inventoryEpoch, closedMs }: { reason: EpochReason; inventoryEpoch: number; closedMs: number },
    ): Promise<number | null> {
      return inTransaction(pool, 'begin-epoch', async (client) => {
        const { rows } = await client.query<{ epoch: number }>(
          'UPDATE sales SET epoch = GREATEST(epoch, $2) + 1 WHERE id = $1 RETURNING epoch',
          [saleId, inventoryEpoch],
        );
        const epoch = rows[0]?.epoch;
        if (epoch === undefined) return null;
        await client.query(
          `INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at)
           VALUES ($1, $2, $3, clock_timestamp() - make_interval(secs => $4 / 1000.0))`,
          [saleId, epoch, reason, closedMs],
        );
        return epoch;
      });
    },

    /** Writes down that the inventory is open, and what it was made of. */
    async finish(
      saleId: string,
      epoch: number,
      made: { reserved: number; sold: number; lost: number; version: number },
    ): Promise<void> {
      await inTransaction(pool, 'finish-epoch', async (client) => {
        await client.query(
          `UPDATE inventory_epochs SET opened_at = clock_timestamp(), reserved = $3, sold = $4, lost = $5
            WHERE sale_id = $1 AND epoch = $2`,
          [saleId, epoch, made.reserved, made.sold, made.lost],
        );
        await client.query('UPDATE sales SET inventory_version = $2 WHERE id = $1 AND inventory_version < $2', [
          saleId,
          made.version,
        ]);
      });
    },

    /** Seconds for which the inventories of these sales were closed before they were rebuilt, by sale; of those that ever were. */
    async closedSeconds(saleIds: readonly string[]): Promise<Map<string, number>> {
      const { rows } = await pool.query<{ saleId: string; seconds: number }>(
        `SELECT sale_id AS "saleId", sum(extract(epoch FROM opened_at - noticed_at))::float8 AS seconds
           FROM inventory_epochs WHERE sale_id = ANY($1) AND opened_at IS NOT NULL GROUP BY sale_id`,
        [saleIds],
      );
      return new Map(rows.map(({ saleId, seconds }) => [saleId, seconds]));
    },

    /**
     * Reads all of it at one instant of the ledger. Such a sale may be large: its statements have a time of their own.
     *
     * @returns null where the sale is unknown
     */
    async read<Result>(saleId: string, work: (source: InventorySource) => Promise<Result>): Promise<Result | null> {
      return inTransaction(pool, null, async (client) => {
        await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
        await client.query(`SET LOCAL statement_timeout = ${REBUILD_STATEMENT_MS}`);
        // What is read is written to Redis between two statements.
        await client.query(`SET LOCAL idle_in_transaction_session_timeout = ${REBUILD_STATEMENT_MS}`);
        const sale = await readSale(client, saleId);
        if (!sale) return null;
        const { rows: changes } = await client.query<StockChange>(
          `SELECT id, sale_id AS "saleId", delta, reason, state, actor, request_id AS "requestId"
             FROM stock_changes WHERE sale_id = $1 ORDER BY created_at`,
          [saleId],
        );
        return work({
          sale,
          changes,
          buyers: (take) =>
            inChunks(
              client,
              `SELECT buyer_id AS "buyerId", sum(quantity)::int AS units
                 FROM orders WHERE ${ORDERS_OF_SALE} AND status = 'confirmed' GROUP BY buyer_id`,
              [saleId],
              take,
            ),
          keys: (take) =>
            inChunks(
              client,
              `SELECT DISTINCT ON (buyer_id, idempotency_key) buyer_id AS "buyerId", idempotency_key AS "idempotencyKey",
                      id, quantity, status = 'confirmed' AS confirmed
                 FROM orders WHERE ${ORDERS_OF_SALE} AND idempotency_key IS NOT NULL
                ORDER BY buyer_id, idempotency_key, (status = 'confirmed') DESC, id`,
              [saleId],
              take,
            ),
        });
      });
    },
  };
}

/** A cursor, so that a sale of a million orders is never in memory as a whole. */
async function inChunks<Row extends object>(
  client: Client,
  sql: string,
  values: unknown[],
  take: (chunk: readonly Row[]) => Promise<void>,
): Promise<void> {
  await client.query(`DECLARE inventory_source NO SCROLL CURSOR FOR ${sql}`, values);
  // Of the client, for a server that is silent: later than the server's own.
  const fetching = {
    text: `FETCH FORWARD ${CHUNK} FROM inventory_source`,
    query_timeout: REBUILD_STATEMENT_MS + 1_000,
  };
  for (;;) {
    const { rows } = await client.query<Row>(fetching);
    if (rows.length > 0) await take(rows);
    if (rows.length < CHUNK) break;
  }
  await client.query('CLOSE inventory_source');
}
