/** Brings the ledger's tables up to date. Several processes may call it at once: a lock in the database lets one work. */
import { readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { PostgresUnfitError } from './check-postgres.ts';

export const MIGRATIONS_TABLE = 'migrations';
const folder = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * @param say receives one line for each migration that is carried out
 * @param most carried out at the most
 * @returns names of the migrations that were carried out
 * @throws whatever PostgreSQL threw; none of them was carried out then
 */
export async function migrateLedger(
  databaseUrl: string,
  say: (line: string) => void = () => {},
  most = Number.POSITIVE_INFINITY,
): Promise<string[]> {
  const config = { connectionString: databaseUrl };
  const done = await onOwnConnection(config, (client) =>
    whileAlone(client, () =>
      runner({
        // The library's own would still be closing, and heard by nobody, as this returns.
        dbClient: client,
        count: most,
        dir: folder,
        direction: 'up',
        migrationsTable: MIGRATIONS_TABLE,
        noLock: true,
        // In the transaction that has the lock. What the library begins in it is no other one, and what it commits is all of it.
        singleTransaction: true,
        logger: { info: () => {}, warn: say, error: say },
      }),
    ),
  );
  for (const migration of done) say(`migrated: ${migration.name}`);
  return done.map((migration) => migration.name);
}

/** Names of the migrations of this code, in their order. */
export function listMigrations(): string[] {
  return readdirSync(folder)
    .flatMap((file) => (file.endsWith('.sql') ? [file.slice(0, -'.sql'.length)] : []))
    .sort();
}

/** @returns names of those that the database has had, in their order; none where it has no ledger */
export async function listCarriedOut(client: pg.ClientBase): Promise<string[]> {
  const { rows: found } = await client.query<{ table: string | null }>('SELECT to_regclass($1) AS table', [
    MIGRATIONS_TABLE,
  ]);
  if (found[0]?.table == null) return [];
  const { rows } = await client.query<{ name: string }>(`SELECT name FROM ${MIGRATIONS_TABLE} ORDER BY id`);
  return rows.map((row) => row.name);
}

/**
 * A database that is newer than this code is fine: an update raises it before the last old process has gone.
 *
 * @throws PostgresUnfitError where a migration that this code needs was not carried out
 */
export async function checkMigrated(databaseUrl: string): Promise<void> {
  const config = { connectionString: databaseUrl, connectionTimeoutMillis: 3_000 };
  const done = new Set(await onOwnConnection(config, listCarriedOut));
  const missing = listMigrations().filter((name) => !done.has(name));
  if (missing.length > 0) throw new PostgresUnfitError(outdated(missing));
}

/** The library's own key, so that an older version of us, which leaves the lock to it, waits for us and we for it. */
const MIGRATION_LOCK = '7241865325823964';

/** ms between two tries to be the one who works. */
const TRY_AGAIN_MS = 200;

/**
 * Holds the lock in a transaction, not in a session as the library does: behind PgBouncer in transaction mode only a transaction stays on one
 * connection to the server, and a session's lock would be left there with nobody to give it back. The work is done in that same transaction, and
 * who waits has none open: so one connection to the server is enough for any number of callers.
 *
 * The transaction begins as the lock is had, not as it is waited for: the time of its beginning is what the library orders migrations by.
 *
 * @param work may end the transaction
 */
async function whileAlone<Result>(client: pg.Client, work: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      // In one message, which is answered with a result for each of its statements.
      const answers = (await client.query(
        `BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0;
         SELECT pg_try_advisory_xact_lock(${MIGRATION_LOCK}) AS alone`,
      )) as unknown as pg.QueryResult<{ alone: boolean }>[];
      if (answers.at(-1)?.rows[0]?.alone) return await work();
    } finally {
      await client.query('ROLLBACK').catch(() => {});
    }
    await pause(TRY_AGAIN_MS);
  }
}

/** Has closed it when it returns. */
async function onOwnConnection<Result>(
  config: pg.ClientConfig,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client(config);
  // One that breaks is heard of by the statement under way; an error that nobody listens to would end the process.
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
