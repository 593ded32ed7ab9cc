/**
 * What the ledger contributes to a rebuilt inventory: its epoch, and its contents. Once the epoch
 * is raised, no order of an earlier one is confirmed before the inventory is open (order-store.ts),
 * so what is read here stays true.
 */
import type { Sale, StockChange } from '../domain/sale.ts';
import { type Client, inTransaction, type Pool } from './connect-postgres.ts';
import { ORDERS_OF_SALE } from './order-rows.ts';
import { CHANGE_COLUMNS, readSale } from './sale-rows.ts';

/**
 * Milliseconds per statement of a rebuild: the orders of a sale of MAX_ALLOTMENT are sorted before
 * the first row.
 */
const REBUILD_STATEMENT_MS = 60_000;

/**
 * What was wrong with an inventory (lua/check-inventory.lua); asked_for: an operator wants it
 * rebuilt.
 */
export type EpochReason = 'missing' | 'other_server' | 'closed' | 'behind' | 'ahead' | 'inconsistent' | 'asked_for';

/** Rows that are fetched together. */
const CHUNK = 1_000;

export interface InventorySource {
  readonly sale: Sale & { readonly sold: number };
  /** Every stock change, pending or decided. */
  readonly changes: readonly StockChange[];
  /** Units that a buyer's confirmed orders hold. */
  buyers(): AsyncIterable<readonly { buyerId: string; units: number }[]>;
  /** One order for each idempotency key: the confirmed one, else the first that was rejected. */
  keys(): AsyncIterable<
    readonly { buyerId: string; idempotencyKey: string; id: string; quantity: number; confirmed: boolean }[]
  >;
}

export type EpochStore = ReturnType<typeof createEpochStore>;

export function createEpochStore(pool: Pool) {
  return {
    /**
     * Raises the sale's epoch. Waits for confirmations in progress, so later reads include them.
     *
     * @param inventoryEpoch of the inventory; the new epoch is above it too, because a restored
     * ledger may be behind
     * @param closedMs milliseconds since the inventory was first seen closed
     * @returns the new epoch, or null if the sale is unknown
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

    /** Records that the inventory is open, and its contents. */
    async finish(
      saleId: string,
      epoch: number,
      result: { reserved: number; sold: number; lost: number; version: number },
    ): Promise<void> {
      await inTransaction(pool, 'finish-epoch', async (client) => {
        await client.query(
          `UPDATE inventory_epochs SET opened_at = clock_timestamp(), reserved = $3, sold = $4, lost = $5
            WHERE sale_id = $1 AND epoch = $2`,
          [saleId, epoch, result.reserved, result.sold, result.lost],
        );
        await client.query('UPDATE sales SET inventory_version = $2 WHERE id = $1 AND inventory_version < $2', [
          saleId,
          result.version,
        ]);
      });
    },

    /**
     * Seconds that the inventories of these sales were closed in all rebuilds, by sale; nothing for
     * a sale without any.
     */
    async closedSeconds(saleIds: readonly string[]): Promise<Map<string, number>> {
      const { rows } = await pool.query<{ saleId: string; seconds: number }>(
        `SELECT sale_id AS "saleId", sum(extract(epoch FROM opened_at - noticed_at))::float8 AS seconds
           FROM inventory_epochs WHERE sale_id = ANY($1) AND opened_at IS NOT NULL GROUP BY sale_id`,
        [saleIds],
      );
      return new Map(rows.map(({ saleId, seconds }) => [saleId, seconds]));
    },

    /**
     * Reads the sale at one instant. It may be large: these statements have their own timeout.
     *
     * @returns null if the sale is unknown
     */
    async read<Result>(saleId: string, work: (source: InventorySource) => Promise<Result>): Promise<Result | null> {
      return inTransaction(pool, null, async (client) => {
        await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
        await client.query(`SET LOCAL statement_timeout = ${REBUILD_STATEMENT_MS}`);
        // Each chunk is written to Redis between two statements.
        await client.query(`SET LOCAL idle_in_transaction_session_timeout = ${REBUILD_STATEMENT_MS}`);
        const sale = await readSale(client, saleId);
        if (!sale) return null;
        const { rows: changes } = await client.query<StockChange>(
          `SELECT ${CHANGE_COLUMNS} FROM stock_changes WHERE sale_id = $1 ORDER BY created_at`,
          [saleId],
        );
        return work({
          sale,
          changes,
          buyers: () =>
            inChunks(
              client,
              `SELECT buyer_id AS "buyerId", sum(quantity)::int AS units
                 FROM orders WHERE ${ORDERS_OF_SALE} AND status = 'confirmed' GROUP BY buyer_id`,
              saleId,
            ),
          keys: () =>
            inChunks(
              client,
              `SELECT DISTINCT ON (buyer_id, idempotency_key) buyer_id AS "buyerId", idempotency_key AS "idempotencyKey",
                      id, quantity, status = 'confirmed' AS confirmed
                 FROM orders WHERE ${ORDERS_OF_SALE} AND idempotency_key IS NOT NULL
                ORDER BY buyer_id, idempotency_key, (status = 'confirmed') DESC, id`,
              saleId,
            ),
        });
      });
    },
  };
}

/** Through a cursor: a sale of a million orders is never in memory as a whole. */
async function* inChunks<Row extends object>(client: Client, sql: string, saleId: string): AsyncGenerator<Row[]> {
  await client.query(`DECLARE inventory_source NO SCROLL CURSOR FOR ${sql}`, [saleId]);
  // The client's own timeout, for a silent server: later than the server's.
  const fetching = {
    text: `FETCH FORWARD ${CHUNK} FROM inventory_source`,
    query_timeout: REBUILD_STATEMENT_MS + 1_000,
  };
  for (let count = CHUNK; count === CHUNK; ) {
    const { rows } = await client.query<Row>(fetching);
    count = rows.length;
    if (count > 0) yield rows;
  }
  await client.query('CLOSE inventory_source');
}
