/**
 * Fills an empty database from a backup, wholly or not at all.
 *   1. Hold the files against the manifest, and the manifest against this code and the database. Until here nothing is changed.
 *   2. Carry out the migrations that the ledger had had.
 *   3. In one transaction: fill the tables, count their rows, bring the identity columns up to them.
 *   4. In the same one: raise each sale's epoch, so that every inventory is rebuilt, and pause what is not over. Its free units may be those of
 *      buyers whose orders came after the backup; who opens the sale before they are found again sells them to others.
 *   5. Carry out the migrations that came later.
 */
import { once } from 'node:events';
import { RESTORE_EPOCHS_SINCE, RESTORE_LOCK_MS } from '@flash-sale/core/config/limits.ts';
import { listApplied, listMigrations, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { BackupUnfitError, type Manifest, readBackup, readBackupFile } from './backup-folder.ts';
import { COPY_SETTINGS, type LedgerTable, listLedgerTables, withLedger } from './ledger-tables.ts';

/** As operator_actions has it. */
const ACTOR = 'restore';

export interface Restored {
  readonly manifest: Manifest;
  /** Ids of the sales that were paused by this. */
  readonly paused: string[];
}

/**
 * @throws BackupUnfitError with a sentence, where backup and database do not go together; then nothing was changed, but that the tables may
 * have been made
 */
export async function restoreLedger(options: { databaseUrl: string; folder: string }): Promise<Restored> {
  const { databaseUrl, folder } = options;
  const manifest = await readBackup(folder);
  requireKnownMigrations(manifest);
  const done = await withLedger(databaseUrl, 'flash-sale-restore', (client) => requireRoom(client, manifest));
  const missing = manifest.migrations.length - done;
  if (missing > 0) await migrateLedger(databaseUrl, () => {}, missing);
  const paused = await withLedger(databaseUrl, 'flash-sale-restore', async (client) => {
    await client.query('BEGIN');
    await client.query(COPY_SETTINGS);
    await client.query(`SET LOCAL lock_timeout = ${RESTORE_LOCK_MS}`);
    const tables = await listLedgerTables(client);
    requireSameTables(tables, manifest);
    await client.query(`LOCK TABLE ${tables.map(({ quoted }) => quoted).join(', ')} IN ACCESS EXCLUSIVE MODE`);
    // Once more: a process may have written since.
    await requireEmpty(client, tables);
    for (const copy of manifest.tables) await fillTable(client, folder, copy, tables);
    for (const table of tables) await raiseIdentities(client, table);
    const ids = await closeInventoriesAndPause(client);
    await client.query('COMMIT');
    await client.query('ANALYZE');
    return ids;
  });
  await migrateLedger(databaseUrl);
  return { manifest, paused };
}

/** Later migrations can be carried out upon the backup's; what this code does not know, it cannot. */
function requireKnownMigrations({ migrations }: Manifest): void {
  const known = listMigrations();
  const unknown = migrations.filter((name, at) => name !== known[at]);
  if (unknown.length === 0) return;
  throw new BackupUnfitError(
    `The backup is of a ledger with migrations that this version does not have (${unknown.join(', ')}). Restore it with the version that wrote it, or a newer one.`,
  );
}

/** @returns how many of the backup's migrations the database has had */
async function requireRoom(client: pg.Client, { migrations }: Manifest): Promise<number> {
  const tables = await listLedgerTables(client);
  await requireEmpty(client, tables);
  const done = await listApplied(client);
  if (done.length > migrations.length || done.some((name, at) => name !== migrations[at])) {
    throw new BackupUnfitError(
      'The tables of this database are empty, and newer than those of the backup. Restore into a database without tables: they are made as they were, and brought up to date afterwards.',
    );
  }
  if (done.length === 0 && tables.length > 0) {
    throw new BackupUnfitError(
      `This database has tables that are none of the ledger's (${tables.map(({ name }) => name).join(', ')}). Restore into one without tables.`,
    );
  }
  return done.length;
}

async function requireEmpty(client: pg.Client, tables: readonly LedgerTable[]): Promise<void> {
  for (const { name, quoted } of tables) {
    const { rows } = await client.query<{ filled: boolean }>(`SELECT EXISTS (SELECT FROM ${quoted}) AS filled`);
    if (rows[0]?.filled) {
      throw new BackupUnfitError(
        `This database is not empty: there are rows in ${name}. A backup is restored into an empty one only; nothing was changed.`,
      );
    }
  }
}

/** Names of the manifest become SQL only where the database has them. */
function requireSameTables(tables: readonly LedgerTable[], manifest: Manifest): void {
  const described = (name: string, columns: readonly string[]): string => `${name} (${[...columns].sort().join(', ')})`;
  const here = tables.map(({ name, columns }) => described(name, columns)).sort();
  const there = manifest.tables.map(({ table, columns }) => described(table, columns)).sort();
  if (here.join() === there.join()) return;
  const differ = there.filter((one) => !here.includes(one)).concat(here.filter((one) => !there.includes(one)));
  throw new BackupUnfitError(`Backup and database have other tables: ${differ.join('; ')}.`);
}

/** @throws BackupUnfitError where its rows are refused, or are not as many as were written */
async function fillTable(
  client: pg.Client,
  folder: string,
  { name, table, columns, rows }: Manifest['tables'][number],
  tables: readonly LedgerTable[],
): Promise<void> {
  const quoted = tables.find((one) => one.name === table)?.quoted;
  const copy = client.query(copyFrom(`COPY ${quoted} (${columns.join(', ')}) FROM STDIN`));
  // Not a pipeline: it would end a copy that the server has ended already, and wait for the answer.
  const refused = new Promise<never>((_, reject) => copy.on('error', reject));
  refused.catch(() => {});
  const fill = async (): Promise<void> => {
    for await (const chunk of readBackupFile(folder, name)) if (!copy.write(chunk)) await once(copy, 'drain');
    copy.end();
    await once(copy, 'finish');
  };
  try {
    await Promise.race([fill(), refused]);
  } catch (error) {
    throw new BackupUnfitError(`${name} cannot be restored (${(error as Error).message}). Nothing was restored.`);
  }
  if (copy.rowCount === rows) return;
  throw new BackupUnfitError(`${name} has ${copy.rowCount} rows, and ${rows} were written. Nothing was restored.`);
}

/** The next row gets a number that no restored one has. */
async function raiseIdentities(client: pg.Client, { quoted }: LedgerTable): Promise<void> {
  const { rows } = await client.query<{ column: string; sequence: string }>(
    `SELECT quote_ident(attname) AS "column", pg_get_serial_sequence($1, attname) AS sequence
       FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND pg_get_serial_sequence($1, attname) IS NOT NULL`,
    [quoted],
  );
  for (const { column, sequence } of rows) {
    await client.query(`SELECT setval($1, coalesce(max(${column}), 1), count(*) > 0) FROM ${quoted}`, [sequence]);
  }
}

/** @returns ids of the sales that were paused */
async function closeInventoriesAndPause(client: pg.Client): Promise<string[]> {
  await client.query(
    `WITH raised AS (
       UPDATE sales SET epoch = GREATEST(epoch + 1, extract(epoch FROM clock_timestamp() - $1::timestamptz)::integer)
       RETURNING id, epoch)
     INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at) SELECT id, epoch, 'asked_for', clock_timestamp() FROM raised`,
    [RESTORE_EPOCHS_SINCE],
  );
  const { rows } = await client.query<{ id: string }>(
    `WITH stopped AS (UPDATE sales SET paused = true, version = version + 1 WHERE NOT paused AND ends_at > now() RETURNING id)
     INSERT INTO operator_actions (actor, action, sale_id, before, after, request_id)
     SELECT $1::text, 'pause', id, '{"paused": false}'::jsonb, '{"paused": true}'::jsonb, $1::text FROM stopped RETURNING sale_id AS id`,
    [ACTOR],
  );
  return rows.map(({ id }) => id);
}
