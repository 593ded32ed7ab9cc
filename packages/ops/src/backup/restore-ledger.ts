/** Fills an empty database from a backup, completely or not at all. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { IDENTITY_TABLE, readLedgerId } from '@flash-sale/core/ledger/ledger-id.ts';
import { listApplied, listMigrations, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { Value } from '@sinclair/typebox/value';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { inTransaction, type LedgerTable, listLedgerTables } from './ledger-tables.ts';
import { MANIFEST, type Manifest, ManifestSchema } from './manifest.ts';

/** Milliseconds to wait for a lock on the tables: API and worker may be reading an empty ledger. */
const LOCK_MS = 10_000;

/**
 * A restore raises each sale's epoch to the seconds since then. That is above every epoch of an
 * inventory, because none is rebuilt once a second. An integer lasts until 2094.
 */
const EPOCHS_SINCE = '2026-01-01T00:00:00Z';

/** A backup is incomplete or damaged, or does not go with the database; the message says why. */
export class BackupUnfitError extends Error {
  override name = 'BackupUnfitError';
}

export interface Restored {
  readonly manifest: Manifest;
  /** Ids of the sales that were paused. */
  readonly paused: string[];
}

/**
 * @param options.owner id of the ledger that Redis belongs to, if it is known
 * @throws BackupUnfitError; then nothing was changed, but empty tables may have been created
 */
export async function restoreLedger(options: {
  databaseUrl: string;
  folder: string;
  owner?: string | null;
}): Promise<Restored> {
  const { databaseUrl, folder, owner = null } = options;
  const manifest = await readManifest(folder);
  const known = listMigrations();
  const unknown = manifest.migrations.filter((name, at) => name !== known[at]);
  if (unknown.length > 0) {
    throw new BackupUnfitError(
      `The backup has migrations that this version does not know (${unknown.join(', ')}). Restore it with a newer version.`,
    );
  }
  const applied = await inTransaction(databaseUrl, 'REPEATABLE READ, READ ONLY', (client) =>
    checkEmpty(client, manifest),
  );
  const missing = manifest.migrations.length - applied;
  if (missing > 0) await migrateLedger(databaseUrl, () => {}, missing);
  const paused = await inTransaction(databaseUrl, 'READ COMMITTED', async (client) => {
    await client.query(`SET LOCAL lock_timeout = ${LOCK_MS}`);
    const tables = await listLedgerTables(client);
    // Names in the manifest become SQL only if the database has the same.
    const differing = manifest.tables.filter((one) => !tables.some((table) => describe(table) === describe(one)));
    if (differing.length > 0 || tables.length !== manifest.tables.length) {
      throw new BackupUnfitError(`Backup and database have different tables: ${differing.map(describe).join('; ')}.`);
    }
    await client.query(`LOCK TABLE ${tables.map(({ table }) => table).join(', ')} IN ACCESS EXCLUSIVE MODE`);
    await refuseRows(client, tables);
    // A surviving Redis has the backup's identity; a new one may have that of the services on it.
    const keepsIdentity = owner !== null && (await readLedgerId(client)) === owner;
    for (const table of manifest.tables) {
      if (table.table === IDENTITY_TABLE) {
        if (keepsIdentity) continue;
        await client.query(`DELETE FROM ${IDENTITY_TABLE}`);
      }
      await fillTable(client, folder, table);
    }
    for (const { table } of tables) await raiseIdentities(client, table);
    await client.query('ANALYZE');
    return closeInventories(client);
  });
  await migrateLedger(databaseUrl);
  return { manifest, paused };
}

/**
 * For a ledger that other tools restored. Raises every epoch, so that each inventory is rebuilt,
 * and pauses every sale that is not over: its free units may belong to orders after the backup.
 *
 * @returns ids of the sales that were paused
 */
export function afterRestore(databaseUrl: string): Promise<string[]> {
  return inTransaction(databaseUrl, 'READ COMMITTED', closeInventories);
}

async function closeInventories(client: pg.Client): Promise<string[]> {
  await client.query(
    `WITH raised AS (
       UPDATE sales SET epoch = GREATEST(epoch + 1, extract(epoch FROM clock_timestamp() - $1::timestamptz)::integer)
       RETURNING id, epoch)
     INSERT INTO inventory_epochs (sale_id, epoch, reason, noticed_at)
     SELECT id, epoch, 'asked_for', clock_timestamp() FROM raised`,
    [EPOCHS_SINCE],
  );
  const { rows } = await client.query<{ id: string }>(
    `WITH stopped AS (
       UPDATE sales SET paused = true, version = version + 1 WHERE NOT paused AND ends_at > now() RETURNING id)
     INSERT INTO operator_actions (actor, action, sale_id, before, after, request_id)
     SELECT 'restore', 'pause', id, '{"paused": false}'::jsonb, '{"paused": true}'::jsonb, 'restore' FROM stopped
     RETURNING sale_id AS id`,
  );
  return rows.map(({ id }) => id);
}

/** Reads the manifest and verifies every file. @throws BackupUnfitError */
async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) {
    throw new BackupUnfitError(`${path} does not exist: this is not a backup, or one that was not finished.`);
  }
  let manifest: unknown = null;
  try {
    manifest = JSON.parse(text);
  } catch {}
  if (!Value.Check(ManifestSchema, manifest)) {
    throw new BackupUnfitError(`${path} is not a manifest: the backup is damaged, or of another version.`);
  }
  for (const { name, sha256 } of [...manifest.tables, ...(manifest.missingOrders ? [manifest.missingOrders] : [])]) {
    const hash = createHash('sha256');
    try {
      for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
    } catch (error) {
      throw new BackupUnfitError(`${name} cannot be read (${(error as Error).message}). Use another backup.`);
    }
    if (hash.digest('hex') !== sha256) throw new BackupUnfitError(`${name} is damaged. Use another backup.`);
  }
  return manifest;
}

/** @returns how many of the backup's migrations the database has */
async function checkEmpty(client: pg.Client, { migrations }: Manifest): Promise<number> {
  const tables = await listLedgerTables(client);
  await refuseRows(client, tables);
  const applied = await listApplied(client);
  if (applied.some((name, at) => name !== migrations[at])) {
    throw new BackupUnfitError('The tables are newer than the backup. Restore into a database without tables.');
  }
  if (applied.length === 0 && tables.length > 0) {
    const names = tables.map(({ table }) => table).join(', ');
    throw new BackupUnfitError(`The database has other tables (${names}). Restore into a database without tables.`);
  }
  return applied.length;
}

async function refuseRows(client: pg.Client, tables: readonly LedgerTable[]): Promise<void> {
  for (const { table } of tables) {
    if (table === IDENTITY_TABLE) continue;
    const { rowCount } = await client.query(`SELECT FROM ${table} LIMIT 1`);
    if (rowCount === 0) continue;
    throw new BackupUnfitError(`The database is not empty: ${table} has rows. Restore into an empty database.`);
  }
}

const describe = ({ table, columns }: LedgerTable): string => `${table} (${columns.toSorted().join(', ')})`;

async function fillTable(
  client: pg.Client,
  folder: string,
  { name, table, columns, rows }: Manifest['tables'][number],
) {
  const copy = client.query(copyFrom(`COPY ${table} (${columns.join(', ')}) FROM STDIN`));
  // Not a destination of the pipeline, which would end a COPY that the server has already ended.
  const finished = once(copy, 'finish');
  finished.catch(() => {});
  const filled = pipeline(
    createReadStream(join(folder, name)),
    createGunzip(),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) if (!copy.write(chunk)) await once(copy, 'drain');
      copy.end();
      await finished;
    },
  );
  filled.catch(() => {});
  try {
    await Promise.race([filled, finished]);
  } catch (error) {
    throw new BackupUnfitError(`${name} cannot be restored (${(error as Error).message}). Nothing was restored.`);
  }
  if (copy.rowCount === rows) return;
  throw new BackupUnfitError(`${name} has ${copy.rowCount} rows instead of ${rows}. Nothing was restored.`);
}

/** The next row gets a number that no restored one has. */
async function raiseIdentities(client: pg.Client, table: string): Promise<void> {
  const { rows } = await client.query<{ column: string; sequence: string }>(
    `SELECT quote_ident(attname) AS "column", pg_get_serial_sequence($1, attname) AS sequence FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND pg_get_serial_sequence($1, attname) IS NOT NULL`,
    [table],
  );
  for (const { column, sequence } of rows) {
    await client.query(`SELECT setval($1, coalesce(max(${column}), 1), count(*) > 0) FROM ${table}`, [sequence]);
  }
}
