/**
 * Writes the ledger, as of one instant, into a folder: a compressed file for each table, the
 * accepted orders that the ledger did not have, and a manifest. The folder gets its name last, so
 * an unfinished backup cannot be mistaken for a complete one.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  createWriteStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { checkMigrated, listApplied } from '@flash-sale/core/ledger/migrate.ts';
import { ACCEPTED, acceptedFields } from '@flash-sale/core/runtime/accepted-log.ts';
import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { LoggedOrder } from '../recover/accepted-log-files.ts';
import { COPY_STATEMENT_MS, inTransaction, type LedgerTable, listLedgerTables } from './ledger-tables.ts';
import { MANIFEST, type Manifest, MISSING_ORDERS_FILE } from './manifest.ts';

const UNFINISHED = '.unfinished';

/**
 * @param folder of the backup to be
 * @param accepted the accepted-order log, in chunks; null: there is none
 * @throws UnfitServerError if the ledger is older than this code
 */
export async function backUpLedger(options: {
  databaseUrl: string;
  folder: string;
  accepted: AsyncIterable<LoggedOrder[]> | null;
}): Promise<Manifest> {
  const { databaseUrl, folder, accepted } = options;
  await checkMigrated(databaseUrl);
  const draft = folder + UNFINISHED;
  mkdirSync(dirname(folder), { recursive: true });
  // Only for its owner: the ledger names every buyer.
  mkdirSync(draft, { mode: 0o700 });
  try {
    const manifest = await inTransaction(databaseUrl, 'REPEATABLE READ, READ ONLY', async (client) => {
      const { rows } = await client.query<{ at: Date }>('SELECT statement_timestamp() AS at');
      const migrations = await listApplied(client);
      const tables = [];
      for (const table of await listLedgerTables(client)) tables.push(await copyTable(client, draft, table));
      // Read after the snapshot: an order accepted before it is in the ledger or in this log.
      const missingOrders = accepted && (await writeMissing(client, draft, accepted));
      return { at: (rows[0] as { at: Date }).at.toISOString(), migrations, tables, missingOrders };
    });
    await writeFile(join(draft, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600, flush: true });
    flushFolder(draft);
    renameSync(draft, folder);
    flushFolder(dirname(folder));
    return manifest;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    throw error;
  }
}

async function copyTable(client: pg.Client, draft: string, { table, columns }: LedgerTable) {
  const rows = client.query(copyTo(`COPY ${table} (${columns.join(', ')}) TO STDOUT`));
  const file = await writeFileOf(draft, `${table.replaceAll('"', '')}.copy.gz`, rows);
  // The server reports the count with the end of the statement, which a next one waits for.
  await client.query('SELECT');
  return { ...file, table, columns, rows: rows.rowCount };
}

/** The orders of the log that the snapshot does not have, in the form of the log. */
async function writeMissing(
  client: pg.Client,
  draft: string,
  accepted: AsyncIterable<LoggedOrder[]>,
): Promise<Manifest['missingOrders']> {
  let orders = 0;
  async function* lines(): AsyncGenerator<string> {
    for await (const chunk of accepted) {
      const ids = chunk.map(({ order }) => order.id);
      const { rows } = await client.query<{ id: string }>('SELECT id FROM orders WHERE id = ANY($1)', [ids]);
      const known = new Set(rows.map(({ id }) => id));
      for (const { saleId, order } of chunk.filter(({ order: { id } }) => !known.has(id))) {
        orders += 1;
        yield `${JSON.stringify({ msg: ACCEPTED, ...acceptedFields(saleId, order) })}\n`;
      }
    }
  }
  return { ...(await writeFileOf(draft, MISSING_ORDERS_FILE, lines())), orders };
}

async function writeFileOf(draft: string, name: string, source: Readable | AsyncIterable<string>) {
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      yield chunk;
    }
  };
  // A third larger than with the default level, in a quarter of the time: a sale may be running.
  await pipeline(
    source,
    createGzip({ level: 1 }),
    measure,
    createWriteStream(join(draft, name), { mode: 0o600, flush: true }),
  );
  return { name, bytes, sha256: hash.digest('hex') };
}

/** The names in a folder must be on the disk as well as its files. */
function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const opened = openSync(folder, 'r');
  fsyncSync(opened);
  closeSync(opened);
}

/**
 * Removes what killed backups left. One written to within COPY_STATEMENT_MS may be running.
 *
 * @returns the folders removed
 */
export function removeUnfinished(into: string): string[] {
  // biome-ignore lint/plugin/wall-time: compared with the time of a file
  const isOld = (path: string): boolean => statSync(path).mtimeMs < Date.now() - COPY_STATEMENT_MS;
  const drafts = readdirSync(into).filter((name) => /^\d{4}-\d\d-\d\dT[\d.-]+Z\.unfinished$/.test(name));
  const old = drafts
    .map((name) => join(into, name))
    .filter((draft) => [draft, ...readdirSync(draft).map((name) => join(draft, name))].every(isOld));
  for (const draft of old) rmSync(draft, { recursive: true });
  return old;
}
