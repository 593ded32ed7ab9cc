/** The ledger's tables, read from the database: a table of a later migration is backed up, too. */
import { MIGRATIONS_TABLE } from '@flash-sale/core/ledger/migrate.ts';
import pg from 'pg';
import type { Manifest } from './manifest.ts';

/** For one statement. The largest table is copied within a minute; a slow disk may take longer. */
export const COPY_STATEMENT_MS = 3_600_000;

/** COPY writes dates by these. SET LOCAL, because PgBouncer refuses them as connection options. */
const COPY_SETTINGS =
  "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL client_encoding = 'UTF8'";

/** Names are quoted for SQL; columns that are computed are left out. */
export type LedgerTable = Pick<Manifest['tables'][number], 'table' | 'columns'>;

/** In an order in which they can be filled: a table after those that it references. */
export async function listLedgerTables(client: pg.Client): Promise<LedgerTable[]> {
  const { rows } = await client.query<LedgerTable>(
    `WITH RECURSIVE depths AS (
       SELECT oid, 0 AS depth FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname <> $1
       UNION ALL
       SELECT r.conrelid, depth + 1 FROM depths d
         JOIN pg_constraint r ON r.confrelid = d.oid AND r.contype = 'f' AND r.conrelid <> r.confrelid)
     SELECT quote_ident(c.relname) AS table, array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns
       FROM (SELECT oid, max(depth) AS depth FROM depths GROUP BY oid) d
       JOIN pg_class c ON c.oid = d.oid
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      GROUP BY c.relname, d.depth ORDER BY d.depth, c.relname`,
    [MIGRATIONS_TABLE],
  );
  return rows;
}

/** Runs `work` in one transaction on its own connection, which is cut if a COPY may be open. */
export async function inTransaction<Result>(
  databaseUrl: string,
  mode: 'REPEATABLE READ, READ ONLY' | 'READ COMMITTED',
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: 'flash-sale-backup',
    connectionTimeoutMillis: 5_000,
    statement_timeout: COPY_STATEMENT_MS,
    // The disk may be slower than the server.
    idle_in_transaction_session_timeout: COPY_STATEMENT_MS,
    keepAlive: true,
  });
  // The statement in progress reports a connection that breaks.
  client.on('error', () => {});
  await client.connect();
  try {
    await client.query(`BEGIN ISOLATION LEVEL ${mode}`);
    await client.query(COPY_SETTINGS);
    const result = await work(client);
    await client.query('COMMIT');
    await client.end();
    return result;
  } catch (error) {
    client.connection.stream.destroy();
    throw error;
  }
}
