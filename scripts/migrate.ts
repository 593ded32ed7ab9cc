/**
 * npm run migrate: applies all pending migrations to the ledger at DATABASE_URL. Idempotent, and
 * safe to run from several machines at once.
 */
import { readEnvironment, requireSetting } from '@flash-sale/core/config/environment.ts';
import { STARTUP_WAIT_MS } from '@flash-sale/core/config/limits.ts';
import { withEnvFile } from '@flash-sale/core/config/setting-files.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { runScript, say } from './command.ts';

await runScript(import.meta.url, 1, {}, async () => {
  const settings = readEnvironment(withEnvFile(new URL('../.env', import.meta.url), process.env));
  const databaseUrl = requireSetting(settings, 'DATABASE_URL');
  await checkPostgres(databaseUrl, STARTUP_WAIT_MS);
  const done = await migrateLedger(databaseUrl, say);
  say(done.length === 0 ? 'The ledger is up to date.' : `${done.length} migration(s) applied.`);
  return 0;
});
