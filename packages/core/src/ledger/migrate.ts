/**
 * Creates and updates the ledger's tables. Several processes may call it at once: a lock lets one
 * of them work.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { UnfitServerError } from '../runtime/unfit-server.ts';

export const MIGRATIONS_TABLE = 'migrations';
const folder = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * @param say receives one line for each migration that was applied
 * @param most migrations to apply: a restore creates the tables as they were when the backup was
 * made
 * @returns names of the migrations that were applied
 * @throws what PostgreSQL threw; then none of them was applied
 */
export async function migrateLedger(
  databaseUrl: string,
  say: (line: string) => void = () => {},
  most = Number.POSITIVE_INFINITY,
): Promise<string[]> {
  // Loaded here: services only check the migrations, and the library takes 20 MB.
  const { runner } = await import('node-pg-migrate');
  const config = { connectionString: databaseUrl };
  const done = await onOwnConnection(config, (client) =>
    withLock(client, () =>
      runner({
        dbClient: client,
        count: most,
        dir: folder,
        direction: 'up',
        migrationsTable: MIGRATIONS_TABLE,
        noLock: true,
        // In the transaction that holds the lock.
        singleTransaction: true,
        logger: { info: () => {}, warn: say, error: say },
      }),
    ),
  );
  for (const migration of done) say(`migrated: ${migration.name}`);
  return done.map((migration) => migration.name);
}

/** Names of this code's migrations, in order. */
export function listMigrations(): string[] {
  return readdirSync(folder)
    .flatMap((file) => (file.endsWith('.sql') ? [file.slice(0, -'.sql'.length)] : []))
    .sort();
}

/** @returns names of the migrations that the database has, in order; none if it has no ledger */
export async function listApplied(client: pg.ClientBase): Promise<string[]> {
  const { rows: found } = await client.query<{ table: string | null }>('SELECT to_regclass($1) AS table', [
    MIGRATIONS_TABLE,
  ]);
  if (found[0]?.table == null) return [];
  const { rows } = await client.query<{ name: string }>(`SELECT name FROM ${MIGRATIONS_TABLE} ORDER BY id`);
  return rows.map((row) => row.name);
}

/**
 * A database with newer migrations is fine: a rolling update migrates before the last old process
 * has stopped.
 *
 * @throws UnfitServerError if a migration of this code is missing
 */
export async function checkMigrated(databaseUrl: string): Promise<void> {
  const config = { connectionString: databaseUrl, connectionTimeoutMillis: 3_000 };
  const done = new Set(await onOwnConnection(config, listApplied));
  const missing = listMigrations().filter((name) => !done.has(name));
  if (missing.length > 0) throw new UnfitServerError(outdated(missing));
}

/** Key of the advisory lock. */
const MIGRATION_LOCK = 4_708_227;

/**
 * Runs `work` in a transaction that holds the lock. The library would hold it in a session: behind
 * PgBouncer in transaction mode a session's lock stays on a server connection with nobody to
 * release it.
 *
 * @param work may end the transaction
 */
async function withLock<Result>(client: pg.Client, work: () => Promise<Result>): Promise<Result> {
  await client.query(
    `BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;
     SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`,
  );
  try {
    return await work();
  } finally {
    await client.query('ROLLBACK').catch(() => {});
  }
}

async function onOwnConnection<Result>(
  config: pg.ClientConfig,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client(config);
  // The statement in progress throws by itself; without a listener the error would end the process.
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function outdated(missing: readonly string[]): string {
  return `The ledger's tables are not up to date (missing: ${missing.join(', ')}). Type: npm run migrate`;
}
