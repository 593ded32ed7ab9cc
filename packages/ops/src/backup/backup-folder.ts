/**
 * A backup of the ledger as it lies on the disk: a folder with a compressed file for each table, the accepted orders that the ledger did not
 * have at that instant, and a manifest that says what must be in them. The manifest is written last and the folder gets its name after that, so
 * that a backup which was not finished is never taken for one.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  createWriteStream,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { COPY_STATEMENT_MS } from '@flash-sale/core/config/limits.ts';
import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';

/** Raised when an older restore would read a backup wrongly. */
const BACKUP_FORMAT = 1;
const MANIFEST = 'manifest.json';
/** A backup shares the machine with a sale: the fastest level makes files a third larger than the usual one, in a quarter of the time. */
const GZIP_LEVEL = 1;

/** Of the accepted orders that the ledger did not have; npm run recover:orders reads it. */
export const MISSING_ORDERS_FILE = 'accepted-orders.log.gz';

const File = { name: Type.String({ pattern: '^[A-Za-z0-9_.-]+$' }), bytes: Type.Integer(), sha256: Type.String() };

const ManifestSchema = Type.Object({
  format: Type.Literal(BACKUP_FORMAT),
  /** ISO 8601, by the ledger's clock: everything that was committed by then is in it. */
  at: Type.String(),
  /** Position in the write-ahead log, for whoever keeps that, too. */
  lsn: Type.String(),
  /** Version of PostgreSQL. */
  server: Type.String(),
  /** Names of the migrations that were carried out, in their order. */
  migrations: Type.Array(Type.String()),
  /** In an order in which they can be filled. */
  tables: Type.Array(
    Type.Object({ ...File, table: Type.String(), columns: Type.Array(Type.String()), rows: Type.Integer() }),
  ),
  /** Units, and the epoch that the inventory had or was to have. */
  sales: Type.Array(
    Type.Object({ id: Type.String(), epoch: Type.Integer(), allotment: Type.Integer(), sold: Type.Integer() }),
  ),
  /** null: no log of the API was given. */
  missingOrders: Type.Union([Type.Null(), Type.Object({ ...File, orders: Type.Integer() })]),
});

export type Manifest = Static<typeof ManifestSchema>;
type WrittenFile = Pick<Manifest['tables'][number], 'name' | 'bytes' | 'sha256'>;

/** A folder is no backup, or a backup that cannot be used here; the message is a sentence that says why. */
export class BackupUnfitError extends Error {
  override name = 'BackupUnfitError';
}

export interface Draft {
  /** Writes a compressed file, and says what must be in it. Nothing of it is in memory as a whole. */
  write(name: string, source: Readable | AsyncIterable<string>): Promise<WrittenFile>;
  /** Makes it a backup. */
  finish(contents: Omit<Manifest, 'format'>): Promise<Manifest>;
}

/** What a draft is called: `npm run backup` calls a backup by its time. */
const DRAFT_NAME = /^\d{4}-\d\d-\d\dT[\d.-]+Z\.unfinished$/;

/**
 * Removes drafts of backups that were cut off. One that was written to within COPY_STATEMENT_MS may be at work, and is left.
 *
 * @param into folder that backups are in
 * @returns folders that were removed, and that were left
 */
export function removeUnfinished(into: string): { removed: string[]; left: string[] } {
  const drafts = readdirSync(into)
    .filter((name) => DRAFT_NAME.test(name))
    .sort()
    .map((name) => join(into, name));
  const isOld = (draft: string): boolean =>
    [draft, ...readdirSync(draft).map((name) => join(draft, name))].every(
      (path) => statSync(path).mtimeMs < Date.now() - COPY_STATEMENT_MS,
    );
  const { removed = [], left = [] } = Object.groupBy(drafts, (draft) => (isOld(draft) ? 'removed' : 'left'));
  for (const draft of removed) rmSync(draft, { recursive: true });
  return { removed, left };
}

/** @param folder of the backup to be; there must be none yet */
export function draftBackup(folder: string): Draft {
  const draft = join(dirname(folder), `${basename(folder)}.unfinished`);
  mkdirSync(dirname(folder), { recursive: true });
  // It holds the ledger, with every buyer in it.
  mkdirSync(draft, { mode: 0o700 });
  return {
    async write(name, source) {
      const hash = createHash('sha256');
      let bytes = 0;
      const note = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
        for await (const chunk of chunks) {
          hash.update(chunk);
          bytes += chunk.length;
          yield chunk;
        }
      };
      const file = createWriteStream(join(draft, name), { mode: 0o600, flush: true });
      await pipeline(source, createGzip({ level: GZIP_LEVEL }), note, file);
      return { name, bytes, sha256: hash.digest('hex') };
    },

    async finish(contents) {
      const manifest: Manifest = { format: BACKUP_FORMAT, ...contents };
      const text = `${JSON.stringify(manifest, null, 2)}\n`;
      await writeFile(join(draft, MANIFEST), text, { mode: 0o600, flush: true });
      flushFolder(draft);
      renameSync(draft, folder);
      flushFolder(dirname(folder));
      return manifest;
    },
  };
}

/** Names are the folder's: they must be on the disk as well as what is in the files. */
function flushFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const opened = openSync(folder, 'r');
  fsyncSync(opened);
  closeSync(opened);
}

/**
 * Reads the manifest, and holds every file against it.
 *
 * @throws BackupUnfitError where it was not finished, is damaged, or is newer than this code
 */
export async function readBackup(folder: string): Promise<Manifest> {
  const manifest = await readManifest(folder);
  const files = [...manifest.tables, ...(manifest.missingOrders ? [manifest.missingOrders] : [])];
  for (const { name, bytes, sha256 } of files) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => null);
    if (!found) throw new BackupUnfitError(`${path} is missing: the backup is not whole. Take another one.`);
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
    if (found.size !== bytes || hash.digest('hex') !== sha256) {
      throw new BackupUnfitError(`${path} is not what was written: it is damaged. Take another backup.`);
    }
  }
  return manifest;
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) {
    throw new BackupUnfitError(`There is no ${MANIFEST} in ${folder}: it is no backup, or one that was not finished.`);
  }
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new BackupUnfitError(`${path} cannot be read: it is damaged. Take another backup.`);
  }
  const { format } = (manifest ?? {}) as { format?: unknown };
  if (typeof format === 'number' && format > BACKUP_FORMAT) {
    throw new BackupUnfitError(
      `The backup in ${folder} has format ${format}, and this version reads up to ${BACKUP_FORMAT}. Restore it with the version that wrote it, or a newer one.`,
    );
  }
  if (!Value.Check(ManifestSchema, manifest)) {
    throw new BackupUnfitError(`${path} is not what a backup says of itself: it is damaged. Take another backup.`);
  }
  return manifest;
}

/** What was compressed, in pieces. */
export function readBackupFile(folder: string, name: string): AsyncIterable<Buffer> {
  const file = createReadStream(join(folder, name));
  const unpacked = createGunzip();
  file.on('error', (error) => unpacked.destroy(error));
  return file.pipe(unpacked);
}
