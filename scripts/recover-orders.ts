/**
 * npm run recover:orders -- <log of the API, folder of logs, pattern, or backup …> [--dry-run]
 *
 * Recovers accepted orders after Redis lost data or the ledger was restored from a backup. It finds
 * orders in the API's logs that are neither in the ledger nor reserved, and enqueues them again
 * under the same ids. Each is confirmed or, if no unit is left, rejected. Orders that a worker's
 * log reports as rejected are recorded as rejected. Safe to repeat.
 *
 * A log includes its rotated files. A folder includes all logs of API and worker processes below it
 * (*api*.log*, *worker*.log*). A backup includes the orders that were missing in its ledger. "-" is
 * standard input. gzip and zstd files are decompressed.
 *
 * Exit code 0: all orders have a final state; 1: some do not, or their sale is not in the ledger,
 * or a file of a folder was not read; 2: the search could not start.
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
