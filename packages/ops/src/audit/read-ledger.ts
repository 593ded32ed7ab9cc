/**
 * What PostgreSQL has of a sale, by SQL of the audit's own: one read-only snapshot, so that all of it is of one instant. Sums are made by
 * the database; rows are fetched only for orders and buyers that are asked for by name, in chunks.
 */
import type { Pool, PoolClient } from 'pg';
import { LISTED_MAX } from './audit-report.ts';
import { readKeyOwners, readKeysTwice } from './read-order-keys.ts';
import { CHUNK, inSnapshot } from './read-snapshot.ts';

/**
 * Orders of the sale $1, along the primary key: an id begins with its sale's, which connect-audit.ts makes sure of. Spelled here once more, for the
 * auditor trusts no store.
 */
const OF_SALE = `sale_id = $1 AND id >= ($1::text || '-0') COLLATE "C" AND id < ($1::text || '-1') COLLATE "C"`;

export interface LedgerOrder {
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  readonly status: string;
}

/** Units confirmed, by the time that the inventory reserved them: up to the inventory's snapshot, and in its very millisecond. */
export interface ConfirmedUnits {
  readonly all: number;
  readonly before: number;
  readonly sameMs: number;
}

export interface LedgerSale {
  readonly allotment: number;
  readonly sold: number;
  readonly perBuyerLimit: number;
  readonly version: number;
  readonly inventoryVersion: number;
  readonly epoch: number;
  readonly paused: boolean;
  /** ms since 1970. */
  readonly startsAt: number;
  readonly endsAt: number;
  /** ms since it was made, and since an operator's last act; by PostgreSQL's clock. */
  readonly madeMsAgo: number;
  readonly changedMsAgo: number;
  /** Units it began with; null where nobody wrote them down. */
  readonly initialUnits: number | null;
  /** Highest epoch that was written down, and ms since its inventory was opened (or its rebuilding begun); null: there was only one. */
  readonly lastEpoch: number | null;
  readonly openedMsAgo: number | null;
}

export interface StockChange {
  readonly id: string;
  readonly delta: number;
  readonly state: string;
  readonly msAgo: number;
}

export interface LedgerSnapshot {
  readonly sale: LedgerSale;
  readonly confirmed: ConfirmedUnits & { readonly orders: number };
  readonly rejectedOrders: number;
  readonly orders: ReadonlyMap<string, LedgerOrder>;
  /** Ids of the confirmed orders under each of the order keys that were asked for, by the key's field. */
  readonly keyOwners: ReadonlyMap<string, readonly string[]>;
  /** Those that were asked for; without the orders that the inventory holds reserved. */
  readonly buyers: ReadonlyMap<string, ConfirmedUnits>;
  /** Buyers whose confirmed orders alone are over the cap. */
  readonly overCap: readonly { buyerId: string; units: number }[];
  readonly keysTwice: readonly { buyerId: string; key: string; orders: number }[];
  readonly illegalRows: readonly IllegalRow[];
  readonly changes: readonly StockChange[];
}

export interface IllegalRow {
  readonly id: string;
  readonly status: string;
  readonly reason: string | null;
  readonly quantity: number;
  readonly unitPrice: string | null;
  readonly amount: string | null;
  readonly currency: string | null;
}

/** What the inventory's snapshot makes it ask for. */
export interface LedgerQuestion {
  readonly saleId: string;
  /** The inventory's instant, ms since 1970 by Redis' clock. */
  readonly at: number;
  readonly orderIds: readonly string[];
  readonly reservedIds: readonly string[];
  readonly buyerIds: readonly string[];
  /** Order keys, as the inventory has them: buyer, space, idempotency key. */
  readonly keyFields: readonly string[];
  /** Redis' clock, asked once the snapshot stands. */
  now(): Promise<number>;
}

export async function listSaleIds(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM sales ORDER BY created_at, id');
  return rows.map((row) => row.id);
}

export async function readChanges(client: Pick<PoolClient, 'query'>, saleId: string): Promise<StockChange[]> {
  const { rows } = await client.query<StockChange>(
    `SELECT id, delta, state, (extract(epoch FROM clock_timestamp() - created_at) * 1000)::float8 AS "msAgo"
       FROM stock_changes WHERE sale_id = $1 ORDER BY created_at, id`,
    [saleId],
  );
  return rows;
}

/** @returns null where the ledger knows no such sale */
export async function readLedger(pool: Pool, question: LedgerQuestion): Promise<LedgerSnapshot | null> {
  return inSnapshot(pool, async (client) => {
    const sale = await readSale(client, question.saleId);
    if (!sale) return null;
    // An order that was reserved later than this was reserved before somebody set the clock back.
    const times = [question.at, await question.now()] as const;
    return {
      sale,
      ...(await readTotals(client, question.saleId, times)),
      orders: await readOrders(client, question.orderIds),
      keyOwners: await readKeyOwners(client, question),
      buyers: sale.perBuyerLimit > 0 ? await readBuyers(client, question, times) : new Map(),
      overCap: sale.perBuyerLimit > 0 ? await readOverCap(client, question.saleId, sale.perBuyerLimit) : [],
      keysTwice: await readKeysTwice(client, question.saleId),
      illegalRows: await readIllegalRows(client, question.saleId),
      changes: await readChanges(client, question.saleId),
    };
  });
}

/** Whoever of these orders the ledger has, at whatever instant. */
export async function findOrders(pool: Pool, ids: readonly string[]): Promise<Map<string, LedgerOrder>> {
  return readOrders(pool, ids);
}

/**
 * Each buyer's confirmed units of orders that were reserved before a time, a chunk at a time, and whether any was reserved since.
 *
 * @param begun ms since 1970 by Redis' clock
 */
export async function eachBuyer(
  pool: Pool,
  saleId: string,
  begun: number,
  take: (chunk: readonly { buyerId: string; units: number; since: boolean }[]) => void,
): Promise<void> {
  await inSnapshot(pool, async (client) => {
    const time = 'to_timestamp($2::float8 / 1000.0)';
    await client.query(
      `DECLARE each_buyer NO SCROLL CURSOR FOR
       SELECT buyer_id AS "buyerId", coalesce(sum(quantity) FILTER (WHERE created_at < ${time}), 0)::float8 AS units,
              bool_or(created_at >= ${time}) AS since
         FROM orders WHERE ${OF_SALE} AND status = 'confirmed' GROUP BY buyer_id`,
      [saleId, begun],
    );
    for (;;) {
      const { rows } = await client.query<{ buyerId: string; units: number; since: boolean }>(
        `FETCH ${CHUNK} FROM each_buyer`,
      );
      if (rows.length === 0) return;
      take(rows);
    }
  });
}

async function readSale(client: PoolClient, saleId: string): Promise<LedgerSale | null> {
  const msAgo = (time: string): string => `(extract(epoch FROM clock_timestamp() - ${time}) * 1000)::float8`;
  const { rows } = await client.query<LedgerSale>(
    `SELECT allotment, sold, per_buyer_limit AS "perBuyerLimit", version, inventory_version AS "inventoryVersion", epoch, paused,
            round(extract(epoch FROM starts_at) * 1000)::float8 AS "startsAt",
            round(extract(epoch FROM ends_at) * 1000)::float8 AS "endsAt",
            ${msAgo('created_at')} AS "madeMsAgo",
            ${msAgo('coalesce((SELECT max(at) FROM operator_actions WHERE sale_id = s.id), created_at)')} AS "changedMsAgo",
            (SELECT (after->>'allotment')::int FROM operator_actions
              WHERE sale_id = s.id AND action = 'create' ORDER BY id LIMIT 1) AS "initialUnits",
            (SELECT max(epoch) FROM inventory_epochs WHERE sale_id = s.id) AS "lastEpoch",
            (SELECT ${msAgo('max(coalesce(opened_at, noticed_at))')} FROM inventory_epochs
              WHERE sale_id = s.id) AS "openedMsAgo"
       FROM sales s WHERE id = $1`,
    [saleId],
  );
  return rows[0] ?? null;
}

/** Sums for the orders that the inventory had reserved by `at`. Times are computed as the ledger's own rows were. */
function unitsByTime(at: string, now: string): string {
  const time = (ms: string): string => `to_timestamp((${ms})::float8 / 1000.0)`;
  const units = (when: string): string => `coalesce(sum(quantity) FILTER (WHERE ${when}), 0)::float8`;
  return `${units('true')} AS "all",
    ${units(`created_at < ${time(at)} OR created_at >= ${time(`${now} + 1`)}`)} AS before,
    ${units(`created_at >= ${time(at)} AND created_at < ${time(`${at} + 1`)}`)} AS "sameMs"`;
}

async function readTotals(
  client: PoolClient,
  saleId: string,
  times: readonly [number, number],
): Promise<Pick<LedgerSnapshot, 'confirmed' | 'rejectedOrders'>> {
  const { rows } = await client.query<ConfirmedUnits & { status: string; orders: number }>(
    `SELECT status, count(*)::float8 AS orders, ${unitsByTime('$2::float8', '$3::float8')}
       FROM orders WHERE ${OF_SALE} GROUP BY status`,
    [saleId, ...times],
  );
  const of = (status: string) => rows.find((row) => row.status === status);
  const { orders = 0, all = 0, before = 0, sameMs = 0 } = of('confirmed') ?? {};
  return { confirmed: { orders, all, before, sameMs }, rejectedOrders: of('rejected')?.orders ?? 0 };
}

async function readOrders(
  client: Pick<PoolClient, 'query'>,
  ids: readonly string[],
): Promise<Map<string, LedgerOrder>> {
  const found = new Map<string, LedgerOrder>();
  for (let at = 0; at < ids.length; at += CHUNK) {
    const { rows } = await client.query<LedgerOrder & { id: string }>(
      `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, status
         FROM orders WHERE id = ANY($1)`,
      [ids.slice(at, at + CHUNK)],
    );
    for (const { id, ...order } of rows) found.set(id, order);
  }
  return found;
}

async function readBuyers(
  client: PoolClient,
  { saleId, buyerIds, reservedIds }: LedgerQuestion,
  times: readonly [number, number],
): Promise<Map<string, ConfirmedUnits>> {
  const found = new Map<string, ConfirmedUnits>();
  for (let at = 0; at < buyerIds.length; at += CHUNK) {
    const { rows } = await client.query<ConfirmedUnits & { buyerId: string }>(
      `SELECT buyer_id AS "buyerId", ${unitsByTime('$4::float8', '$5::float8')}
         FROM orders o
        WHERE ${OF_SALE} AND status = 'confirmed' AND buyer_id = ANY($2)
          AND NOT EXISTS (SELECT FROM unnest($3::text[]) AS reserved (id) WHERE reserved.id = o.id)
        GROUP BY buyer_id`,
      [saleId, buyerIds.slice(at, at + CHUNK), reservedIds, ...times],
    );
    for (const { buyerId, ...units } of rows) found.set(buyerId, units);
  }
  return found;
}

async function readOverCap(
  client: PoolClient,
  saleId: string,
  perBuyerLimit: number,
): Promise<LedgerSnapshot['overCap']> {
  const { rows } = await client.query<LedgerSnapshot['overCap'][number]>(
    `SELECT buyer_id AS "buyerId", sum(quantity)::float8 AS units FROM orders
      WHERE ${OF_SALE} AND status = 'confirmed'
      GROUP BY buyer_id HAVING sum(quantity) > $2 ORDER BY buyer_id LIMIT ${LISTED_MAX}`,
    [saleId, perBuyerLimit],
  );
  return rows;
}

async function readIllegalRows(client: PoolClient, saleId: string): Promise<IllegalRow[]> {
  const { rows } = await client.query<IllegalRow>(
    `SELECT id, status, reason, quantity, trim_scale(unit_price)::text AS "unitPrice", trim_scale(amount)::text AS amount,
            currency
       FROM orders
      WHERE ${OF_SALE}
        AND (status NOT IN ('confirmed', 'rejected') OR quantity < 1 OR (status = 'rejected') <> (reason IS NOT NULL)
             OR (status = 'confirmed' AND (unit_price IS NULL OR amount IS NULL OR currency IS NULL
                                           OR amount <> quantity * unit_price)))
      ORDER BY id LIMIT ${LISTED_MAX}`,
    [saleId],
  );
  return rows;
}
