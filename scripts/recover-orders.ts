/**
 * npm run recover:orders -- <log of the API, folder of logs, pattern, or backup …> [--dry-run]
 *
 * After Redis lost its disk, or the ledger was restored from a backup: finds the orders in the API's logs that were accepted and are
 * neither in the ledger nor reserved, and redelivers them under the ids that their buyers have. Each ends as confirmed or, if no unit
 * is left, rejected; an order that a worker's log calls rejected is recorded as that. Safe to repeat.
 *
 * Of a log, its rotated files are read as well; of a folder and its subfolders, all logs of API and worker processes (*api*.log*,
 * *worker*.log*); of a backup, the orders that it found missing. "-" reads standard input. gzip and zstd are unpacked.
 *
 * Exit code 0: every order found has ended; 1: some have not, or belong to a sale that the ledger does not know, or a file of a folder
 * was not read; 2: nothing could be looked for.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findServers, findSettings } from '@flash-sale/launcher/running-system.ts';
import { recoverOrders } from '@flash-sale/ops/recover/recover-orders.ts';
import { readArguments, usageOf } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  const options = { 'dry-run': { type: 'boolean', default: false } } as const;
  const { values, positionals: files } = readArguments(import.meta.url, { options, allowPositionals: true });
  if (files.length === 0) throw new Error(usageOf(import.meta.url));
  const servers = findServers(root, process.env);
  const settings = findSettings(root, process.env).settings.environment;
  process.exitCode = (await recoverOrders({ ...servers, settings, files, dryRun: values['dry-run'], say })) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
