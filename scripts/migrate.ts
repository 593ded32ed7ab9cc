/**
 * npm run migrate -- [--demo-sales]
 *
 * Applies all pending migrations to the ledger at DATABASE_URL. Idempotent, and safe to run from
 * several machines at once. --demo-sales also creates the two demo sales, unless they exist or
 * DEMO_SALES=off.
 */
import { readEnvironment, requireSetting } from '@flash-sale/core/config/environment.ts';
import { STARTUP_WAIT_MS } from '@flash-sale/core/config/limits.ts';
import { withEnvFile } from '@flash-sale/core/config/setting-files.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { runScript, say } from './command.ts';

const options = { 'demo-sales': { type: 'boolean', default: false } } as const;

await runScript(import.meta.url, 1, { options }, async ({ values }) => {
  const settings = readEnvironment(withEnvFile(new URL('../.env', import.meta.url), process.env));
  const databaseUrl = requireSetting(settings, 'DATABASE_URL');
  await checkPostgres(databaseUrl, STARTUP_WAIT_MS);
  const done = await migrateLedger(databaseUrl, say);
  say(done.length === 0 ? 'The ledger is up to date.' : `${done.length} migration(s) applied.`);
  if (values['demo-sales'] && settings.DEMO_SALES === 'on') {
    const created = await createDemoSales(databaseUrl);
    say(`Demo sales created: ${created.join(', ') || 'none'}.`);
  }
  return 0;
});
