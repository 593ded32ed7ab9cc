/**
 * The files of the accepted-order log: those that a person names, with what was set aside of them, compressed or not. Nothing is left out in
 * silence: each file that was read is told of, and each that was not.
 */
import { existsSync, globSync, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { LOST_LOOK_CHUNK } from '@flash-sale/core/config/limits.ts';
import type { AcceptedOrder, RejectionReason } from '@flash-sale/core/domain/order.ts';
import { readAccepted, readRejected } from '@flash-sale/core/runtime/accepted-log.ts';
import { openLog } from './open-log.ts';

/** A log of an API process, of whatever machine, or what a backup has kept of them. */
const OF_API = /api.*\.log|^accepted-orders\.log/i;
/** A log of a worker: it says what was rejected. */
const OF_WORKER = /worker.*\.log/i;
/** What `npm start` has beside them. */
const OF_SERVER = /^(redis|postgres)\.log/;
/** How the writer, or a program that rotates logs, calls what it set aside: `api-1.log.000001`, `api.log.1.gz`, `api.log-20261124`. */
const SET_ASIDE = /^[.-]\d/;
const OTHER_NAME =
  'its name is that of neither an API process (*api*.log*) nor a worker (*worker*.log*). Name it, to have it read; move it away, if it is no log';
/** A folder that has it is a backup, and nothing else in it is a log. */
const MANIFEST = 'manifest.json';

export interface LoggedOrder {
  readonly saleId: string;
  readonly order: AcceptedOrder;
}

/** What was read of a file. Times are ms since 1970, when the first and the last of the orders were accepted; null where there is none. */
export interface LogRead {
  readonly file: string;
  readonly accepted: number;
  readonly rejected: number;
  readonly firstAt: number | null;
  readonly lastAt: number | null;
}

interface SkippedFile {
  readonly file: string;
  readonly why: string;
}

export interface FoundLogs {
  readonly files: readonly string[];
  /** In the folders that were named, and not read. */
  readonly skipped: readonly SkippedFile[];
}

/**
 * @param given a log, a folder of logs (with those in it), a pattern, or "-" for standard input
 * @throws Error with a sentence where there are none
 */
export function findLogs(given: string): FoundLogs {
  if (given === '-') return { files: [given], skipped: [] };
  if (existsSync(given)) {
    if (!statSync(given).isDirectory()) return { files: withSetAside(given), skipped: [] };
    const found = logsOfFolder(given);
    if (found.files.some(isOfApi)) return found;
    throw new Error(`There is no log of an API process (*api*.log*) in ${given}.`);
  }
  const matches = globSync(given).sort();
  // A log that is being set aside just now has no file of its own name.
  const setAside = matches.length === 0 && existsSync(dirname(given)) ? withSetAside(given) : [];
  if (matches.length === 0 && setAside.length === 0) throw new Error(`There is no log ${given}.`);
  const found = matches.map((match) =>
    statSync(match).isDirectory() ? logsOfFolder(match) : { files: [resolve(match)], skipped: [] },
  );
  return {
    files: [...setAside, ...found.flatMap(({ files }) => files)],
    skipped: found.flatMap(({ skipped }) => skipped),
  };
}

const isOfApi = (file: string): boolean => OF_API.test(basename(file));

/** The log, where it is there, and those that were set aside from it. */
function withSetAside(log: string): string[] {
  const folder = dirname(resolve(log));
  const isOfLog = (name: string): boolean =>
    name === basename(log) || (name.startsWith(basename(log)) && SET_ASIDE.test(name.slice(basename(log).length)));
  return readdirSync(folder)
    .filter(isOfLog)
    .sort()
    .map((name) => join(folder, name));
}

function logsOfFolder(given: string, entered = new Set<string>()) {
  const found = { files: [] as string[], skipped: [] as SkippedFile[] };
  const folder = resolve(given);
  // A link may lead back.
  if (entered.has(realpathSync(folder))) return found;
  entered.add(realpathSync(folder));
  const names = readdirSync(folder).sort();
  for (const name of names) {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) {
      if (lstatSync(path, { throwIfNoEntry: false }))
        found.skipped.push({ file: path, why: 'it is a link that leads nowhere' });
    } else if (stat.isDirectory()) {
      const inner = logsOfFolder(path, entered);
      found.files.push(...inner.files);
      found.skipped.push(...inner.skipped);
    } else if (OF_API.test(name) || OF_WORKER.test(name)) found.files.push(path);
    else if (!OF_SERVER.test(name) && !names.includes(MANIFEST)) found.skipped.push({ file: path, why: OTHER_NAME });
  }
  return found;
}

/**
 * Every accepted order of them, in chunks of as many as inventory and ledger are asked for together; one that stands in two files comes twice.
 *
 * @param given as of findLogs
 * @param told onRejected: of each order that a worker's line calls rejected; onRead: of each file, once it is read; onGone: of each that was
 * removed between finding and opening it
 * @throws as findLogs, and Error with a sentence where a file is compressed in a way that is not known here, or damaged
 */
export async function* readAcceptedLogs(
  given: readonly string[],
  told: {
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
      // Where it was set aside just now, it is there again, or is found by its new name.
      files.delete(file);
      if (!existsSync(file)) told.onGone?.(file);
    } else {
      const read = { file, accepted: 0, rejected: 0, firstAt: null as number | null, lastAt: null as number | null };
      for await (const { accepted, rejected } of linesOf(file, input)) {
        if (accepted) {
          const at = accepted.order.reservedAt;
          read.accepted += 1;
          read.firstAt = Math.min(read.firstAt ?? at, at);
          read.lastAt = Math.max(read.lastAt ?? at, at);
          chunk.push(accepted);
        }
        if (rejected) {
          read.rejected += 1;
          told.onRejected?.(rejected);
        }
        if (chunk.length === LOST_LOOK_CHUNK) yield chunk.splice(0);
      }
      told.onRead?.(read);
    }
    for (const since of given.flatMap(foundSince)) files.add(since);
  }
  if (chunk.length > 0) yield chunk;
}

async function* linesOf(file: string, input: NodeJS.ReadableStream) {
  const mayAccept = isOfApi(file) || !OF_WORKER.test(basename(file));
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      const accepted = mayAccept ? readAccepted(line) : null;
      const rejected = accepted ? null : readRejected(line);
      if (accepted || rejected) yield { accepted, rejected };
    }
  } catch (error) {
    throw new Error(`${file} cannot be read to its end (${(error as Error).message}): name the others without it.`);
  }
}

/** A process may have set its file aside while we read another one: what is new by now is read, too. What is gone is no fault any more. */
function foundSince(given: string): readonly string[] {
  try {
    return findLogs(given).files;
  } catch {
    return [];
  }
}
