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
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { recoverOrders } from '@flash-sale/ops/recover/recover-orders.ts';
import { root, runScript, say, usageOf } from './command.ts';

const options = { 'dry-run': { type: 'boolean', default: false } } as const;

await runScript(import.meta.url, 2, { options, allowPositionals: true }, async ({ values, positionals: files }) => {
  if (files.length === 0) throw new Error(usageOf(import.meta.url));
  const { environment: settings } = findSystem(root, process.env, 'REDIS_URL', 'DATABASE_URL');
  const { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl } = settings;
  const isComplete = await recoverOrders({ redisUrl, databaseUrl, settings, files, dryRun: values['dry-run'], say });
  return isComplete ? 0 : 1;
});
