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
import type { AcceptedOrder, RejectionReason } from '@flash-sale/core/domain/order.ts';
import { readAccepted, readRejected } from '@flash-sale/core/runtime/accepted-log.ts';
import { MANIFEST } from '../backup/manifest.ts';

/** Orders of the accepted-order log that are looked up together. */
export const LOST_LOOKUP_CHUNK = 1_000;

/** Logs of API processes on any machine, and what a backup keeps of them. */
const OF_API = /api.*\.log|^accepted-orders\.log/i;
/** Logs of workers say which orders were rejected. */
const OF_WORKER = /worker.*\.log/i;
/** What `npm start` writes beside them. */
const OF_SERVER = /^(redis|postgres)\.log/;
/** Suffixes of rotated files: `api-1.log.000001`, `api.log.1.gz`, `api.log-20261124`. */
const ROTATED = /^[.-]\d/;
const OTHER_NAME =
  'its name is not that of a log of the API (*api*.log*) or of a worker (*worker*.log*); name it to have it read';

export interface LoggedOrder {
  readonly saleId: string;
  readonly order: AcceptedOrder;
}

/** Times: ms since 1970 of the first and the last accepted order; null: there is none. */
export interface LogRead {
  readonly file: string;
  readonly accepted: number;
  readonly rejected: number;
  readonly firstAt: number | null;
  readonly lastAt: number | null;
}

export interface FoundLogs {
  readonly files: readonly string[];
  /** In the folders that were named, and not read. */
  readonly skipped: readonly { readonly file: string; readonly why: string }[];
}

/**
 * @param given a log, a folder (read with its subfolders), a pattern, or "-" for standard input
 * @throws Error with a sentence if there are none
 */
export function findLogs(given: string): FoundLogs {
  if (given === '-') return { files: [given], skipped: [] };
  if (existsSync(given)) {
    if (!statSync(given).isDirectory()) return { files: withRotated(given), skipped: [] };
    const found = logsOfFolder(given);
    if (found.files.some(isOfApi)) return found;
    throw new Error(`There is no log of an API process (*api*.log*) in ${given}.`);
  }
  const matches = globSync(given).sort();
  // A log that is being rotated has no file of its own name for a moment.
  const rotated = matches.length === 0 && existsSync(dirname(given)) ? withRotated(given) : [];
  if (matches.length === 0 && rotated.length === 0) throw new Error(`There is no log ${given}.`);
  const found = matches.map((match) =>
    statSync(match).isDirectory() ? logsOfFolder(match) : { files: [resolve(match)], skipped: [] },
  );
  return {
    files: [...rotated, ...found.flatMap(({ files }) => files)],
    skipped: found.flatMap(({ skipped }) => skipped),
  };
}

const isOfApi = (file: string): boolean => OF_API.test(basename(file));

function withRotated(log: string): string[] {
  const [folder, base] = [dirname(resolve(log)), basename(log)];
  const isOfLog = (name: string): boolean =>
    name === base || (name.startsWith(base) && ROTATED.test(name.slice(base.length)));
  return readdirSync(folder)
    .filter(isOfLog)
    .sort()
    .map((name) => join(folder, name));
}

function logsOfFolder(given: string, entered = new Set<string>()): FoundLogs {
  const folder = resolve(given);
  const files: string[] = [];
  const skipped: { file: string; why: string }[] = [];
  // A link may lead back.
  if (entered.has(realpathSync(folder))) return { files, skipped };
  entered.add(realpathSync(folder));
  const names = readdirSync(folder).sort();
  for (const name of names) {
    const file = join(folder, name);
    const target = statSync(file, { throwIfNoEntry: false });
    if (target?.isDirectory()) {
      const inner = logsOfFolder(file, entered);
      files.push(...inner.files);
      skipped.push(...inner.skipped);
    } else if (!target) {
      // A file that was removed just now is no dead link.
      if (lstatSync(file, { throwIfNoEntry: false })) skipped.push({ file, why: 'it is a dead link' });
    } else if (OF_API.test(name) || OF_WORKER.test(name)) files.push(file);
    else if (!OF_SERVER.test(name) && !names.includes(MANIFEST)) skipped.push({ file, why: OTHER_NAME });
  }
  return { files, skipped };
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
      let [accepted, rejected, firstAt, lastAt] = [0, 0, null as number | null, null as number | null];
      for await (const line of linesOf(file, input)) {
        const order = isOfApi(file) || !OF_WORKER.test(basename(file)) ? readAccepted(line) : null;
        const rejection = order ? null : readRejected(line);
        if (order) {
          const at = order.order.reservedAt;
          accepted += 1;
          firstAt = Math.min(firstAt ?? at, at);
          lastAt = Math.max(lastAt ?? at, at);
          chunk.push(order);
          if (chunk.length === LOST_LOOKUP_CHUNK) yield chunk.splice(0);
        } else if (rejection) {
          rejected += 1;
          receivers.onRejected?.(rejection);
        }
      }
      receivers.onRead?.({ file, accepted, rejected, firstAt, lastAt });
    }
    // A file that was rotated meanwhile has another name now.
    for (const since of given.flatMap(findAgain)) files.add(since);
  }
  if (chunk.length > 0) yield chunk;
}

/** What is gone by now is no error any more. */
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
