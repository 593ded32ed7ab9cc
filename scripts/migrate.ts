/**
 * npm run migrate: applies all pending migrations to the ledger at DATABASE_URL. Idempotent, and
 * safe to run from several machines at once.
 */
// By path: the images contain the services' packages, not those of the project's root.
import { EnvironmentError, readEnvironment, requireSetting } from '../packages/core/src/config/environment.ts';
import { STARTUP_WAIT_MS } from '../packages/core/src/config/limits.ts';
import { withEnvFile } from '../packages/core/src/config/setting-files.ts';
import { checkPostgres } from '../packages/core/src/ledger/check-postgres.ts';
import { migrateLedger } from '../packages/core/src/ledger/migrate.ts';
import { UnfitServerError } from '../packages/core/src/runtime/unfit-server.ts';

const envFile = new URL('../.env', import.meta.url);

try {
  const databaseUrl = requireSetting(readEnvironment(withEnvFile(envFile, process.env)), 'DATABASE_URL');
  await checkPostgres(databaseUrl, STARTUP_WAIT_MS);
  const done = await migrateLedger(databaseUrl, console.log);
  console.log(done.length === 0 ? 'The ledger is up to date.' : `${done.length} migration(s) applied.`);
} catch (error) {
  const expected = error instanceof EnvironmentError || error instanceof UnfitServerError;
  console.error(expected ? error.message : ((error as Error).stack ?? String(error)));
  process.exitCode = 1;
}
