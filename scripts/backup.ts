/**
 * npm run backup -- [folder] [--logs <log of the API, folder of logs, or pattern> …]
 *
 * Writes a consistent snapshot of the ledger into a new folder below the given one (default
 * <DATA_DIR>/backups). From the API's logs (default: those of `npm start`) it adds accepted orders
 * that are not in the ledger yet. It is safe during a sale. It also removes unfinished backups that
 * are older than an hour.
 *
 * Exit code 0: the backup is complete and all log files were read; otherwise 1.
 */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { findLedger, readSettings } from '@flash-sale/launcher/running-system.ts';
import { backUpLedger, removeUnfinished } from '@flash-sale/ops/backup/back-up-ledger.ts';
import type { Manifest } from '@flash-sale/ops/backup/manifest.ts';
import { findLogs, readAcceptedLogs, reportLogs, reportSkipped } from '@flash-sale/ops/recover/accepted-log-files.ts';
import { readArguments, usageOf } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  const options = { logs: { type: 'string', multiple: true } } as const;
  const { values, positionals } = readArguments(import.meta.url, { options, allowPositionals: true }, { wrongCode: 1 });
  if (positionals.length > 1) throw new Error(usageOf(import.meta.url));
  const { dataFolder } = readSettings(root, process.env);
  const into = positionals[0] === undefined ? join(dataFolder, 'backups') : resolve(positionals[0]);
  await backUp(into, values.logs ?? ownLogs(join(dataFolder, 'logs')));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

/** The log folder of `npm start`; null if it has no logs. */
function ownLogs(folder: string): string[] | null {
  try {
    findLogs(folder);
    return [folder];
  } catch {
    return null;
  }
}

async function backUp(into: string, logs: readonly string[] | null): Promise<void> {
  const startedAt = performance.now();
  // Sorts by time, and is valid on every file system.
  const folder = join(into, new Date().toISOString().replaceAll(':', '-'));
  const databaseUrl = findLedger(root, process.env);
  // Fail before anything is written.
  const isAllRead = reportSkipped(logs ?? [], say);
  await checkPostgres(databaseUrl);
  const manifest = await backUpLedger({
    databaseUrl,
    folder,
    accepted: logs && readAcceptedLogs(logs, reportLogs(say)),
  });
  for (const line of describe(manifest)) say(line);
  for (const draft of removeUnfinished(into)) say(`removed: ${draft}, an unfinished backup`);
  say(`${folder}, ${((performance.now() - startedAt) / 1_000).toFixed(2)} s`);
  if (!isAllRead) process.exitCode = 1;
}

function describe({ tables, missingOrders, at }: Manifest): string[] {
  const files = [...tables, ...(missingOrders ? [missingOrders] : [])];
  const megabytes = (files.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6).toFixed(1);
  const rows = tables.map(({ table, rows }) => `${rows} ${table.replaceAll('_', ' ')}`).join(', ');
  return [
    `ledger of ${at}: ${rows}; ${megabytes} MB`,
    missingOrders
      ? `accepted and not in the ledger: ${missingOrders.orders} (npm run recover:orders reads them from the backup)`
      : 'no log of the API was found: accepted orders that are not confirmed yet are not in the backup (--logs names the logs)',
  ];
}
