/** The files of the accepted-order log: those that a person names, with what was set aside of them. */
import { createReadStream, existsSync, globSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { LOST_LOOK_CHUNK } from '../limits.ts';
import { listSetAside } from '../rotated-file.ts';
import { readAccepted, readRejected } from './accepted-log.ts';
import type { AcceptedOrder, RejectionReason } from './order.ts';

/** A log of an API process, or what a backup has kept of them. */
const LOG_NAME = /^(api.*|accepted-orders)\.log(\.|$)/;
/** A log of a worker: it says what was rejected. */
const WORKER_LOG_NAME = /^worker.*\.log(\.|$)/;

/**
 * @param given a log, a folder of logs, a pattern, or "-" for standard input
 * @throws Error with a sentence where there are none
 */
export function findAcceptedLogs(given: string): string[] {
  if (given === '-') return [given];
  if (!existsSync(given)) {
    const found = globSync(given).sort();
    if (found.length === 0) throw new Error(`There is no log ${given}.`);
    return found;
  }
  if (statSync(given).isDirectory()) {
    const found = readdirSync(given).filter((name) => LOG_NAME.test(name));
    if (found.length === 0) throw new Error(`There is no log of an API process (api*.log) in ${given}.`);
    return found.sort().map((name) => join(given, name));
  }
  return [...listSetAside(given), given];
}

/** @returns logs of workers beside those of the API, in the folders among them */
function findWorkerLogs(given: string): string[] {
  if (given === '-' || !existsSync(given) || !statSync(given).isDirectory()) return [];
  return readdirSync(given)
    .filter((name) => WORKER_LOG_NAME.test(name))
    .sort()
    .map((name) => join(given, name));
}

export interface LoggedOrder {
  readonly saleId: string;
  readonly order: AcceptedOrder;
}

/**
 * Every accepted order of them, in chunks of as many as gate and ledger are asked for together; one that stands in two files comes twice.
 *
 * @param onRejected told of each order that a worker's line calls rejected: in what is given, and in workers' logs of the folders among it
 * @throws as findAcceptedLogs
 */
export async function* readAcceptedLogs(
  given: readonly string[],
  onRejected: (rejected: { id: string; reason: RejectionReason }) => void = () => {},
): AsyncGenerator<LoggedOrder[]> {
  const read = new Set<string>();
  let chunk: LoggedOrder[] = [];
  // A process may have set its file aside while we read another one: what is new by then is read, too.
  for (;;) {
    const ofWorkers = new Set(given.flatMap(findWorkerLogs));
    const file = [...given.flatMap(findAcceptedLogs), ...ofWorkers].find((one) => !read.has(one));
    if (file === undefined) break;
    read.add(file);
    for await (const line of createInterface({ input: open(file), crlfDelay: Number.POSITIVE_INFINITY })) {
      const accepted = ofWorkers.has(file) ? null : readAccepted(line);
      if (accepted) chunk.push(accepted);
      const rejected = accepted ? null : readRejected(line);
      if (rejected) onRejected(rejected);
      if (chunk.length < LOST_LOOK_CHUNK) continue;
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) yield chunk;
}

function open(file: string): NodeJS.ReadableStream {
  if (file === '-') return process.stdin;
  const packed = createReadStream(file);
  if (!file.endsWith('.gz')) return packed;
  const unpacked = createGunzip();
  packed.on('error', (error) => unpacked.destroy(error));
  return packed.pipe(unpacked);
}
