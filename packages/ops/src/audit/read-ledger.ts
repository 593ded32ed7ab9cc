/**
 * What PostgreSQL has of a sale, in one read-only snapshot. The database computes sums; rows are
 * fetched in chunks, and only for the orders and buyers that are asked for.
 */
import { type Client, inTransaction } from '@flash-sale/core/ledger/connect-postgres.ts';
import { ORDERS_OF_SALE } from '@flash-sale/core/ledger/order-rows.ts';
import { type LedgerSale, readSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { Pool } from 'pg';
import { checkLedger } from './ledger-checks.ts';

/** Ids in one statement, and rows fetched at a time. */
const CHUNK = 5_000;

/** @param ms SQL of ms since 1970: rounded as created_at was when the order was stored */
const timeOf = (ms: string): string => `to_timestamp((${ms})::float8 / 1000.0)`;
const unitsWhere = (condition: string): string => `coalesce(sum(quantity) FILTER (WHERE ${condition}), 0)::float8`;

export interface LedgerOrder {
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  readonly status: string;
}

interface AuditedSale extends LedgerSale {
  readonly hasPendingChange: boolean;
  /** ms since an operator last changed settings or stock, by PostgreSQL's clock. */
  readonly changedMsAgo: number;
  /** ms since its inventory was last rebuilt; null: never. */
  readonly openedMsAgo: number | null;
}

export type LedgerSnapshot = NonNullable<Awaited<ReturnType<typeof readLedger>>>;

export interface LedgerQuestion {
  readonly saleId: string;
  /** When the inventory was read, ms since 1970 by the clock of Redis. */
  readonly at: number;
  readonly orderIds: readonly string[];
  readonly reservedIds: readonly string[];
  readonly buyerIds: readonly string[];
  readonly settleMs: number;
  /** The clock of Redis, read once the snapshot is taken. */
  now(): Promise<number>;
}

export async function listSaleIds(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM sales ORDER BY created_at, id');
  return rows.map((row) => row.id);
}

/** @returns null if the ledger does not know the sale */
export async function readLedger(pool: Pool, question: LedgerQuestion) {
  const { saleId, at, orderIds, reservedIds, buyerIds, settleMs, now } = question;
  return inSnapshot(pool, async (client) => {
    const sale = await readAuditedSale(client, saleId);
    if (!sale) return null;
    const counted = [saleId, at, await now(), reservedIds];
    const isCapped = sale.perBuyerLimit > 0;
    return {
      sale,
      ...(await readTotals(client, counted)),
      /** The same by buyer, of those asked for and those over the cap. Empty without a cap. */
      committedOf: isCapped
        ? await readBuyers(client, [...counted, buyerIds, sale.perBuyerLimit])
        : new Map<string, number>(),
      /** The orders that were asked for. */
      orders: await readOrders(client, orderIds),
      /** Of the ledger alone. */
      violations: await checkLedger(client, saleId, settleMs),
    };
  });
}

export async function readOrders(
  client: Pick<Client, 'query'>,
  ids: readonly string[],
): Promise<Map<string, LedgerOrder>> {
  const found = new Map<string, LedgerOrder>();
  for (let at = 0; at < ids.length; at += CHUNK) {
    const { rows } = await client.query<LedgerOrder & { id: string }>(
      `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, status FROM orders WHERE id = ANY($1)`,
      [ids.slice(at, at + CHUNK)],
    );
    for (const { id, ...order } of rows) found.set(id, order);
  }
  return found;
}

/**
 * Every buyer's confirmed units of orders reserved before `at` (ms by the clock of Redis), and
 * whether there are newer ones.
 */
export function eachBuyer(
  pool: Pool,
  { saleId, at }: { saleId: string; at: number },
  take: (chunk: readonly { buyerId: string; units: number; hasNewer: boolean }[]) => void,
): Promise<void> {
  const sql = `SELECT buyer_id AS "buyerId", ${unitsWhere(`created_at < ${timeOf('$2')}`)} AS units,
                      bool_or(created_at >= ${timeOf('$2')}) AS "hasNewer"
                 FROM orders WHERE ${ORDERS_OF_SALE} AND status = 'confirmed' GROUP BY buyer_id`;
  return eachChunk(pool, sql, [saleId, at], take);
}

/** Every confirmed order with an idempotency key. `field`: as Redis stores the key. */
export function eachKeyedOrder(
  pool: Pool,
  saleId: string,
  take: (chunk: readonly { field: string; id: string; quantity: number }[]) => Promise<void>,
): Promise<void> {
  const sql = `SELECT buyer_id || ' ' || idempotency_key AS field, id, quantity
                 FROM orders WHERE ${ORDERS_OF_SALE} AND status = 'confirmed' AND idempotency_key IS NOT NULL`;
  return eachChunk(pool, sql, [saleId], take);
}

async function eachChunk<Row extends object>(
  pool: Pool,
  sql: string,
  values: unknown[],
  take: (chunk: readonly Row[]) => void | Promise<void>,
): Promise<void> {
  await inSnapshot(pool, async (client) => {
    await client.query(`DECLARE chunks NO SCROLL CURSOR FOR ${sql}`, values);
    for (;;) {
      const { rows } = await client.query<Row>(`FETCH ${CHUNK} FROM chunks`);
      if (rows.length === 0) return;
      await take(rows);
    }
  });
}

function inSnapshot<Result>(pool: Pool, read: (client: Client) => Promise<Result>): Promise<Result> {
  return inTransaction(pool, null, async (client) => {
    await client.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    return read(client);
  });
}

async function readAuditedSale(client: Client, saleId: string): Promise<AuditedSale | null> {
  const sale = await readSale(client, saleId);
  const msAgo = (time: string): string => `(extract(epoch FROM clock_timestamp() - ${time}) * 1000)::float8`;
  const { rows } = await client.query<Omit<AuditedSale, keyof LedgerSale>>(
    `SELECT ${msAgo('coalesce((SELECT max(at) FROM operator_actions WHERE sale_id = s.id), created_at)')} AS "changedMsAgo",
            EXISTS (SELECT FROM stock_changes WHERE sale_id = s.id AND state = 'pending') AS "hasPendingChange",
            (SELECT ${msAgo('max(coalesce(opened_at, noticed_at))')} FROM inventory_epochs
              WHERE sale_id = s.id) AS "openedMsAgo"
       FROM sales s WHERE id = $1`,
    [saleId],
  );
  return sale && rows[0] ? { ...sale, ...rows[0] } : null;
}

/**
 * Parameters $1 to $4: sale, when the inventory was read, when the ledger's snapshot was taken,
 * reserved ids. An order reserved in the same millisecond in which the inventory was read is still
 * reserved there, or came later: none is confirmed and committed within 1 ms. An order "reserved"
 * after $3 was reserved before the clock of Redis was set back.
 */
const COMMITTED = unitsWhere(
  `(created_at < ${timeOf('$2')} OR created_at >= ${timeOf('$3::float8 + 1')}) AND id NOT IN (SELECT unnest($4::text[]))`,
);

async function readTotals(client: Client, counted: unknown[]) {
  const { rows } = await client.query<{ status: string; orders: number; committed: number }>(
    `SELECT status, count(*)::float8 AS orders, ${COMMITTED} AS committed FROM orders WHERE ${ORDERS_OF_SALE} GROUP BY status`,
    counted,
  );
  const rowOf = (status: string) => rows.find((row) => row.status === status) ?? { orders: 0, committed: 0 };
  return {
    confirmedOrders: rowOf('confirmed').orders,
    rejectedOrders: rowOf('rejected').orders,
    /** Units that the inventory must have committed by its snapshot: confirmed, not reserved. */
    committed: rowOf('confirmed').committed,
  };
}

async function readBuyers(client: Client, values: unknown[]): Promise<Map<string, number>> {
  const { rows } = await client.query<{ buyerId: string; committed: number }>(
    `SELECT buyer_id AS "buyerId", ${COMMITTED} AS committed FROM orders
      WHERE ${ORDERS_OF_SALE} AND status = 'confirmed'
      GROUP BY buyer_id HAVING buyer_id = ANY($5) OR sum(quantity) > $6`,
    values,
  );
  return new Map(rows.map(({ buyerId, committed }) => [buyerId, committed]));
}
