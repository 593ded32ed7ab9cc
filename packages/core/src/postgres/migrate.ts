/** Brings the ledger's tables up to date. Several processes may call it at once: a lock in the database lets one work. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { PostgresUnfitError } from './check-postgres.ts';

const MIGRATIONS_TABLE = 'migrations';
const folder = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * @param say receives one line for each migration that is carried out
 * @returns names of the migrations that were carried out
 * @throws whatever PostgreSQL threw; the migration that failed is rolled back
 */
export async function migrateLedger(databaseUrl: string, say: (line: string) => void = () => {}): Promise<string[]> {
  const done = await runner({
    databaseUrl,
    dir: folder,
    direction: 'up',
    migrationsTable: MIGRATIONS_TABLE,
    advisoryLockMode: 'wait',
    logger: { info: () => {}, warn: say, error: say },
  });
  for (const migration of done) say(`migrated: ${migration.name}`);
  return done.map((migration) => migration.name);
}

/**
 * A database that is newer than this code is fine: an update raises it before the last old process has gone.
 *
 * @throws PostgresUnfitError where a migration that this code needs was not carried out
 */
export async function checkMigrated(databaseUrl: string): Promise<void> {
  const needed = readdirSync(folder).flatMap((file) => (file.endsWith('.sql') ? [file.slice(0, -'.sql'.length)] : []));
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 3_000 });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(`SELECT name FROM ${MIGRATIONS_TABLE}`);
    const done = new Set(rows.map((row) => row.name));
    const missing = needed.filter((name) => !done.has(name));
    if (missing.length > 0) throw new PostgresUnfitError(outdated(missing));
  } catch (error) {
    // 42P01: there is no such table.
    throw (error as { code?: string }).code === '42P01' ? new PostgresUnfitError(outdated(needed)) : error;
  } finally {
    await client.end();
  }
}

function outdated(missing: readonly string[]): string {
  return `The ledger's tables are not up to date (missing: ${missing.join(', ')}). Type: pnpm migrate`;
}
