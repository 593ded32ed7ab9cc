/**
 * Writes the ledger, as it is at one instant, into a folder. Nobody is held up: it only reads, in a snapshot.
 *   1. Take the snapshot, and look what there is.
 *   2. Copy each table, compressed as it comes.
 *   3. Read the accepted-order log, later than the snapshot was taken: an order that was accepted before it is in the one or in the other.
 *   4. Write the manifest, and give the folder its name.
 */

import { checkMigrated, listApplied } from '@flash-sale/core/ledger/migrate.ts';
import { ACCEPTED, acceptedFields } from '@flash-sale/core/runtime/accepted-log.ts';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { LoggedOrder } from '../recover/accepted-log-files.ts';
import { type Draft, draftBackup, type Manifest, MISSING_ORDERS_FILE } from './backup-folder.ts';
import { COPY_SETTINGS, type LedgerTable, listLedgerTables, withLedger } from './ledger-tables.ts';

/**
 * @param folder of the backup to be
 * @param accepted the accepted-order log, in chunks; null: there is none here
 * @throws PostgresUnfitError where the ledger's tables are older than this code, or whatever PostgreSQL or the disk throws; then what was
 * written is left behind as `<folder>.unfinished`
 */
export async function backUpLedger(options: {
  databaseUrl: string;
  folder: string;
  accepted: AsyncIterable<LoggedOrder[]> | null;
}): Promise<Manifest> {
  const { databaseUrl, folder, accepted } = options;
  await checkMigrated(databaseUrl);
  return withLedger(databaseUrl, 'flash-sale-backup', async (client) => {
    await client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    await client.query(COPY_SETTINGS);
    // The first statement takes the snapshot. On a standby there is no position to write at, but one that was reached.
    const { rows } = await client.query<{ at: Date; lsn: string; server: string }>(
      `SELECT statement_timestamp() AS at, current_setting('server_version') AS server,
              CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS lsn`,
    );
    const { at, lsn, server } = rows[0] as { at: Date; lsn: string; server: string };
    const migrations = await listApplied(client);
    const sales = await client.query<Manifest['sales'][number]>(
      'SELECT id, epoch, allotment, sold FROM sales ORDER BY id',
    );
    const tables = await listLedgerTables(client);
    const draft = draftBackup(folder);
    const copies = [];
    for (const table of tables) copies.push(await copyTable(client, draft, table));
    const missingOrders = accepted && (await writeMissing(client, draft, accepted));
    await client.query('COMMIT');
    return draft.finish({
      at: at.toISOString(),
      lsn,
      server,
      migrations,
      // Now that a later statement was answered each count is there.
      tables: copies.map(({ rows, ...copy }) => ({ ...copy, rows: rows() })),
      sales: sales.rows,
      missingOrders,
    });
  });
}

async function copyTable(client: pg.Client, draft: Draft, { name, quoted, columns }: LedgerTable) {
  const rows = client.query(copyTo(`COPY ${quoted} (${columns.join(', ')}) TO STDOUT`));
  const file = await draft.write(`${name}.copy.gz`, rows);
  return { ...file, table: name, columns, rows: () => rows.rowCount };
}

/** The orders of the log that the snapshot does not have, in the form of the log. */
async function writeMissing(
  client: pg.Client,
  draft: Draft,
  accepted: AsyncIterable<LoggedOrder[]>,
): Promise<Manifest['missingOrders']> {
  let orders = 0;
  async function* lines(): AsyncGenerator<string> {
    for await (const chunk of accepted) {
      const ids = chunk.map(({ order }) => order.id);
      const { rows } = await client.query<{ id: string }>('SELECT id FROM orders WHERE id = ANY($1)', [ids]);
      const known = new Set(rows.map(({ id }) => id));
      for (const { saleId, order } of chunk) {
        if (known.has(order.id)) continue;
        orders += 1;
        yield `${JSON.stringify({ msg: ACCEPTED, ...acceptedFields(saleId, order) })}\n`;
      }
    }
  }
  const file = await draft.write(MISSING_ORDERS_FILE, lines());
  return { ...file, orders };
}
