/**
 * The files of the accepted-order log: those that an operator names, and those rotated from them,
 * compressed or not. Reports which files were read and which were not.
 */
import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { createReadStream, existsSync, globSync, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { RejectionReason } from '@flash-sale/core/domain/order.ts';
import { readAccepted, readRejected } from '@flash-sale/core/runtime/accepted-log.ts';
import { MANIFEST } from '../backup/manifest.ts';

/** Orders of the accepted-order log that are looked up together. */
export const LOST_LOOKUP_CHUNK = 1_000;

/** Logs of API processes on any machine, and what a backup keeps of them. */
const OF_API = /api.*\.log|^accepted-orders\.log/i;
/** Logs of workers say which orders were rejected. */
const OF_WORKER = /worker.*\.log/i;
/** What `npm start` writes next to them. */
const OF_SERVER = /^(redis|postgres)\.log/;
/** Suffixes of rotated files: `api-1.log.000001`, `api.log.1.gz`, `api.log-20261124`. */
const ROTATED = /^[.-]\d/;
const OTHER_NAME =
  'its name is not that of a log of the API (*api*.log*) or of a worker (*worker*.log*); name it to have it read';

export type LoggedOrder = NonNullable<ReturnType<typeof readAccepted>>;

/** What was read of a file. */
export interface LogRead {
  readonly file: string;
  accepted: number;
  rejected: number;
  /** ms since 1970 of the first and the last accepted order; null: there is none. */
  firstAt: number | null;
  lastAt: number | null;
}

export interface FoundLogs {
  readonly files: string[];
  /** In the folders that were named, and not read. */
  readonly skipped: { readonly file: string; readonly why: string }[];
}

/**
 * @param given a log, a folder (read with its subfolders), a pattern, or "-" for standard input
 * @throws Error with a sentence if there are none
 */
export function findLogs(given: string): FoundLogs {
  const found: FoundLogs = { files: [], skipped: [] };
  if (given === '-') return { ...found, files: [given] };
  const matches = existsSync(given) ? [given] : globSync(given).sort();
  // A log that is being rotated has no file of its own name for a moment.
  for (const match of matches.length > 0 ? matches : [given]) {
    if (statSync(match, { throwIfNoEntry: false })?.isDirectory()) addFolder(resolve(match), found, new Set());
    else if (existsSync(dirname(match))) found.files.push(...withRotated(match));
  }
  if (matches[0] === given && statSync(given).isDirectory() && !found.files.some(isOfApi))
    throw new Error(`There is no log of an API process (*api*.log*) in ${given}.`);
  if (matches.length + found.files.length === 0) throw new Error(`There is no log ${given}.`);
  return found;
}

const isOfApi = (file: string): boolean => OF_API.test(basename(file));

function withRotated(log: string): string[] {
  const [folder, base] = [dirname(resolve(log)), basename(log)];
  const isOfLog = (name: string): boolean =>
    name === base || (name.startsWith(base) && ROTATED.test(name.slice(base.length)));
  const names = readdirSync(folder).filter(isOfLog).sort();
  return names.map((name) => join(folder, name));
}

/** @param entered folders, with links resolved: a link may lead back */
function addFolder(folder: string, found: FoundLogs, entered: Set<string>): void {
  const real = realpathSync(folder);
  if (entered.has(real)) return;
  entered.add(real);
  const names = readdirSync(folder).sort();
  for (const name of names) {
    const file = join(folder, name);
    const target = statSync(file, { throwIfNoEntry: false });
    if (target?.isDirectory()) addFolder(file, found, entered);
    else if (!target) {
      // A file that was removed just now is no dead link.
      if (lstatSync(file, { throwIfNoEntry: false })) found.skipped.push({ file, why: 'it is a dead link' });
    } else if (OF_API.test(name) || OF_WORKER.test(name)) found.files.push(file);
    else if (!OF_SERVER.test(name) && !names.includes(MANIFEST)) found.skipped.push({ file, why: OTHER_NAME });
  }
}

/** @returns whether every file of the folders is read. @throws as findLogs */
export function reportSkipped(given: readonly string[], say: (line: string) => void): boolean {
  const skipped = new Map(given.flatMap((one) => findLogs(one).skipped).map(({ file, why }) => [file, why]));
  for (const [file, why] of skipped) say(`  NOT READ ${file}: ${why}.`);
  return skipped.size === 0;
}

/** Receivers for readAcceptedLogs that report every file. */
export const reportLogs = (say: (line: string) => void) => ({
  onRead({ file, accepted, rejected, firstAt, lastAt }: LogRead): void {
    const time = (ms: number): string => new Date(ms).toISOString();
    const times = firstAt === null || lastAt === null ? '' : `, from ${time(firstAt)} to ${time(lastAt)}`;
    const orders = `${accepted} accepted order${accepted === 1 ? '' : 's'}${times}`;
    say(`  read ${file === '-' ? 'standard input' : file}: ${orders}${rejected === 0 ? '' : `, ${rejected} rejected`}`);
  },
  onGone: (file: string): void => say(`  gone ${file}: it was removed or rotated before it was read`),
});

/**
 * Every accepted order, in chunks of LOST_LOOKUP_CHUNK; one that is in two files comes twice.
 *
 * @param given as of findLogs
 * @param receivers onRejected: each order that a worker rejected; onRead: each file once it is
 * read; onGone: each file that was removed before it was opened
 * @throws as findLogs; Error with a sentence if a file is damaged or its compression is unknown
 */
export async function* readAcceptedLogs(
  given: readonly string[],
  receivers: {
    onRejected?: (rejected: { id: string; reason: RejectionReason }) => void;
    onRead?: (read: LogRead) => void;
    onGone?: (file: string) => void;
  } = {},
): AsyncGenerator<LoggedOrder[]> {
  const files = new Set(given.flatMap((one) => findLogs(one).files));
  const chunk: LoggedOrder[] = [];
  for (const file of files) {
    const input = await openLog(file);
    if (input === null) {
      files.delete(file);
      if (!existsSync(file)) receivers.onGone?.(file);
    } else {
      const read: LogRead = { file, accepted: 0, rejected: 0, firstAt: null, lastAt: null };
      for await (const line of linesOf(file, input)) {
        const order = isOfApi(file) || !OF_WORKER.test(basename(file)) ? readAccepted(line) : null;
        const rejection = order ? null : readRejected(line);
        if (order) {
          const at = order.order.reservedAt;
          read.accepted += 1;
          read.firstAt = Math.min(read.firstAt ?? at, at);
          read.lastAt = Math.max(read.lastAt ?? at, at);
          chunk.push(order);
          if (chunk.length === LOST_LOOKUP_CHUNK) yield chunk.splice(0);
        } else if (rejection) {
          read.rejected += 1;
          receivers.onRejected?.(rejection);
        }
      }
      receivers.onRead?.(read);
    }
    // A file that was rotated meanwhile has another name now.
    for (const since of given.flatMap(findAgain)) files.add(since);
  }
  if (chunk.length > 0) yield chunk;
}

/** A log that was removed meanwhile is no error. */
function findAgain(given: string): readonly string[] {
  try {
    return findLogs(given).files;
  } catch {
    return [];
  }
}

async function* linesOf(file: string, input: NodeJS.ReadableStream): AsyncGenerator<string> {
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (error) {
    throw new Error(`${file} cannot be read to its end (${(error as Error).message}). Name the others without it.`);
  }
}

/** Files that we unpack, by their first bytes: their names depend on who moved them. */
const PACKED = [
  { magic: '1f8b', unpack: createGunzip },
  { magic: '28b52ffd', unpack: createZstdDecompress },
];

/** @returns its text; null if there is no such file. @throws Error if it is not text */
async function openLog(file: string): Promise<NodeJS.ReadableStream | null> {
  if (file === '-') return process.stdin;
  const source = createReadStream(file);
  try {
    await once(source, 'readable');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const head = source.read() as Buffer | null;
  if (head === null) return source;
  source.unshift(head);
  const packed = PACKED.find(({ magic }) => head.toString('hex', 0, magic.length / 2) === magic);
  if (packed) {
    const unpacked = packed.unpack();
    source.on('error', (error) => unpacked.destroy(error));
    return source.pipe(unpacked);
  }
  // The first chunk may end within a character.
  const isText = !head.includes(0) && [0, 1, 2, 3].some((cut) => isUtf8(head.subarray(0, head.length - cut)));
  if (isText) return source;
  source.destroy();
  throw new Error(`${file} is not text, and not compressed with gzip or zstd. Unpack it, and run the command again.`);
}
