/**
 * The ledger's tables as the database has them, so that a table which a later migration makes is in the backups by itself; and one connection
 * that may take its time over them.
 */

import { COPY_STATEMENT_MS } from '@flash-sale/core/config/limits.ts';
import { MIGRATIONS_TABLE } from '@flash-sale/core/ledger/migrate.ts';
import pg from 'pg';

export interface LedgerTable {
  readonly name: string;
  /** As SQL has it. */
  readonly quoted: string;
  /** As SQL has them; without those that are computed. */
  readonly columns: string[];
}

/**
 * First in a transaction that copies: COPY writes and reads as the session is set, and a role, a database or a server may be set otherwise; a
 * day and a month would change places. Not as options of the connection, which PgBouncer refuses.
 */
export const COPY_SETTINGS =
  "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL client_encoding = 'UTF8'";

/** Tables in an order in which they can be filled: none before those that it refers to. */
export async function listLedgerTables(client: pg.Client): Promise<LedgerTable[]> {
  const { rows: tables } = await client.query<LedgerTable>(
    `SELECT c.relname::text AS name, quote_ident(c.relname) AS quoted,
            array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
       FROM pg_class c
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> $1
      GROUP BY c.relname ORDER BY c.relname`,
    [MIGRATIONS_TABLE],
  );
  const { rows: references } = await client.query<{ from: string; to: string }>(
    `SELECT f.relname::text AS "from", t.relname::text AS "to"
       FROM pg_constraint r JOIN pg_class f ON f.oid = r.conrelid JOIN pg_class t ON t.oid = r.confrelid
      WHERE r.contype = 'f' AND r.conrelid <> r.confrelid AND f.relnamespace = current_schema()::regnamespace`,
  );
  const ordered: LedgerTable[] = [];
  let left = tables;
  while (left.length > 0) {
    const names = new Set(left.map(({ name }) => name));
    const free = left.filter(({ name }) => !references.some(({ from, to }) => from === name && names.has(to)));
    if (free.length === 0) throw new Error(`Tables refer to each other in a circle: ${[...names].join(', ')}.`);
    ordered.push(...free);
    left = left.filter((table) => !free.includes(table));
  }
  return ordered;
}

/**
 * A connection of its own for as long as `work` lasts. Where it fails the connection is cut: it may be in the middle of a table.
 *
 * @throws whatever `work` or PostgreSQL throws
 */
export async function withLedger<Result>(
  databaseUrl: string,
  name: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: name,
    connectionTimeoutMillis: 5_000,
    statement_timeout: COPY_STATEMENT_MS,
    // The disk may be slower than the server: between two statements a file is finished.
    idle_in_transaction_session_timeout: COPY_STATEMENT_MS,
    keepAlive: true,
  });
  // One that breaks is heard of by the statement under way.
  client.on('error', () => {});
  await client.connect();
  try {
    const result = await work(client);
    await client.end();
    return result;
  } catch (error) {
    client.connection.stream.destroy();
    throw error;
  }
}
