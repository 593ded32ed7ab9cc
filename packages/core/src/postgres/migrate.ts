/** Brings the ledger's tables up to date. Several processes may call it at once: a lock in the database lets one work. */
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';

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
    migrationsTable: 'migrations',
    advisoryLockMode: 'wait',
    logger: { info: () => {}, warn: say, error: say },
  });
  for (const migration of done) say(`migrated: ${migration.name}`);
  return done.map((migration) => migration.name);
}
