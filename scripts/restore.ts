/**
 * npm run restore -- <backup>
 *
 * Fills the empty database at DATABASE_URL from a backup, in one transaction. Sales that are not over are paused; the last lines of
 * the output say what to do before they are resumed. Exit code 0: restored; otherwise 1.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { STARTUP_WAIT_MS } from '@flash-sale/core/config/limits.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { findLedger } from '@flash-sale/launcher/running-system.ts';
import { restoreLedger } from '@flash-sale/ops/backup/restore-ledger.ts';
import { readArguments, usageOf } from './read-arguments.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  const { positionals } = readArguments(import.meta.url, { options: {}, allowPositionals: true }, { wrongCode: 1 });
  const [folder] = positionals;
  if (folder === undefined || positionals.length > 1) throw new Error(usageOf(import.meta.url));
  await restore(resolve(folder));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

async function restore(folder: string): Promise<void> {
  const startedAt = performance.now();
  const databaseUrl = findLedger(root, process.env);
  await checkPostgres(databaseUrl, STARTUP_WAIT_MS);
  const { manifest, paused } = await restoreLedger({ databaseUrl, folder });
  const rows = manifest.tables.map(({ table, rows }) => `${rows} ${table.replaceAll('_', ' ')}`).join(', ');
  say(`ledger of ${manifest.at}: ${rows}; ${((performance.now() - startedAt) / 1_000).toFixed(2)} s`);
  say(paused.length === 0 ? 'no sale was to be paused' : `paused: ${paused.join(', ')}`);
  say('Now: start worker and API; do again what operators did since; then, with all logs of the API that there are:');
  say(`  npm run recover:orders -- ${manifest.missingOrders ? `${quoted(folder)} ` : ''}<logs of the API>`);
  say('Then resume the sales, and type: npm run audit:sale');
}

/** For a POSIX shell. */
function quoted(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
