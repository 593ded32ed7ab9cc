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
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { backUpLedger, removeUnfinished } from '@flash-sale/ops/backup/back-up-ledger.ts';
import type { Manifest } from '@flash-sale/ops/backup/manifest.ts';
import { findLogs, readAcceptedLogs, reportLogs, reportSkipped } from '@flash-sale/ops/recover/accepted-log-files.ts';
import { root, runScript, say, usageOf } from './command.ts';

const options = { logs: { type: 'string', multiple: true } } as const;

await runScript(import.meta.url, 1, { options, allowPositionals: true }, async ({ values, positionals }) => {
  const startedAt = performance.now();
  if (positionals.length > 1) throw new Error(usageOf(import.meta.url));
  const { dataFolder, environment } = findSystem(root, process.env, 'DATABASE_URL');
  const { DATABASE_URL: databaseUrl } = environment;
  const into = resolve(positionals[0] ?? join(dataFolder, 'backups'));
  // Sorts by time, and is valid on every file system.
  // biome-ignore lint/plugin/wall-time: the folder's name
  const folder = join(into, new Date().toISOString().replaceAll(':', '-'));
  const logs = values.logs ?? ownLogs(join(dataFolder, 'logs'));
  // Fail before anything is written.
  const isAllRead = reportSkipped(logs ?? [], say);
  await checkPostgres(databaseUrl);
  const accepted = logs && readAcceptedLogs(logs, reportLogs(say));
  for (const line of describe(await backUpLedger({ databaseUrl, folder, accepted }))) say(line);
  for (const draft of removeUnfinished(into)) say(`removed: ${draft}, an unfinished backup`);
  say(`${folder}, ${((performance.now() - startedAt) / 1_000).toFixed(2)} s`);
  return isAllRead ? 0 : 1;
});

/** The log folder of `npm start`; null if it has no logs. */
function ownLogs(folder: string): string[] | null {
  try {
    findLogs(folder);
    return [folder];
  } catch {
    return null;
  }
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
