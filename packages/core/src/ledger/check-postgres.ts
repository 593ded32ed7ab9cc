/** Checks whether a PostgreSQL server can keep the ledger. */
import pg from 'pg';
import { POSTGRES_MAJOR_MIN } from '../config/limits.ts';
import { certificateFault, UnfitServerError, untilFit } from '../runtime/unfit-server.ts';

/** Milliseconds that a connection, and then an answer, may take. */
const ANSWER_MS = 3_000;

/** What API and worker need. docs/operations.md has the same as GRANTs. */
const RIGHTS = {
  sales: ['SELECT', 'INSERT', 'UPDATE'],
  stock_changes: ['SELECT', 'INSERT', 'UPDATE'],
  inventory_epochs: ['SELECT', 'INSERT', 'UPDATE'],
  orders: ['SELECT', 'INSERT'],
  operator_actions: ['SELECT', 'INSERT'],
  ledger_identity: ['SELECT', 'INSERT'],
  migrations: ['SELECT'],
};
const NEEDED = Object.entries(RIGHTS).flatMap(([table, rights]) => rights.map((right) => [table, right] as const));

/**
 * @param waitMs milliseconds to retry while nothing answers, or only a standby; 0 = one try
 * @returns the server's version, for example "18.4"
 * @throws UnfitServerError if nothing answers, login or database are wrong, it is too old, or we
 * may not write orders
 */
export async function checkPostgres(url: string, waitMs = 0): Promise<string> {
  return untilFit(waitMs, () =>
    withPostgres(url, ANSWER_MS, async (client) => {
      const version = await checkVersion(client);
      const fault = await writeFault(client);
      if (fault)
        throw new UnfitServerError(`PostgreSQL ${fault.found}. ${fault.fix}`, fault.isStandby ? 'maybe' : 'never');
      return version;
    }),
  );
}

/** Why orders cannot be written, and what to do; null: they can, once missing tables are there. */
export async function writeFault(client: Pick<pg.ClientBase, 'query'>) {
  const { rows } = await client.query<{ isStandby: boolean; isReadOnly: boolean; role: string; grants: string[] }>(
    `SELECT pg_is_in_recovery() AS "isStandby", current_setting('transaction_read_only') = 'on' AS "isReadOnly",
            quote_ident(current_user) AS role,
            ARRAY(SELECT format('GRANT %s ON %s TO %I', string_agg(privilege, ', '), name, current_user)
                    FROM unnest($1::text[], $2::text[]) AS needed (name, privilege)
                   WHERE NOT has_table_privilege(to_regclass(name), privilege) GROUP BY name) AS grants`,
    [NEEDED.map(([table]) => table), NEEDED.map(([, right]) => right)],
  );
  const { isStandby, isReadOnly, role, grants } = rows[0] as (typeof rows)[0];
  if (isStandby) return { isStandby, found: 'is a standby', fix: 'Set DATABASE_URL to the address of its primary' };
  if (isReadOnly)
    return {
      isStandby,
      found: `is read-only for the role ${role} (default_transaction_read_only)`,
      fix: `As a superuser: ALTER ROLE ${role} SET default_transaction_read_only = off`,
    };
  if (grants.length === 0) return null;
  const found = `does not let the role ${role} of DATABASE_URL write orders`;
  return { isStandby, found, fix: `As the owner of the tables: ${grants.join('; ')}` };
}

async function checkVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
  const version = rows[0]?.server_version ?? '';
  if (Number.parseInt(version, 10) < POSTGRES_MAJOR_MIN) {
    throw new UnfitServerError(
      `PostgreSQL ${version} is too old: version ${POSTGRES_MAJOR_MIN} or newer is needed. Upgrade it, or set DATABASE_URL to a newer one.`,
    );
  }
  return version;
}

/**
 * Connects, works, and disconnects.
 *
 * @param timeoutMs milliseconds that the connection, and then each answer, may take
 * @throws UnfitServerError if nothing answers, or login or database are refused; or what `work`
 * throws of its own
 */
export async function withPostgres<Result>(
  url: string,
  timeoutMs: number,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = createClient(url, timeoutMs);
  client.on('error', () => {});
  try {
    await client.connect();
    return await work(client);
  } catch (error) {
    throw error instanceof UnfitServerError ? error : explain(url, error as Error & { code?: string });
  } finally {
    await client.end().catch(() => {});
  }
}

function explain(url: string, { code = '', message }: Error & { code?: string }): UnfitServerError {
  if (/unsupported startup parameter/i.test(message)) return new UnfitServerError(pooler(message));
  const place = placeOf(url);
  const certificate = certificateFault(
    { code, message },
    {
      caFile: '?sslmode=verify-full&sslrootcert=/path/ca.pem at the end of DATABASE_URL',
      withoutTls: 'take sslmode out of DATABASE_URL',
    },
  );
  if (certificate !== null) return new UnfitServerError(`PostgreSQL at ${place} ${certificate}`);
  const reason = message || code;
  // 28xxx: login refused, 3D000: no such database. Waiting does not help.
  if (code.startsWith('28') || code === '3D000')
    return new UnfitServerError(
      `PostgreSQL at ${place} refuses the connection (${reason}). Check the user, the password and the database in DATABASE_URL.`,
    );
  return new UnfitServerError(
    `No PostgreSQL answers at ${place} (${reason}). Start it, or correct DATABASE_URL.`,
    'maybe',
  );
}

function pooler(failure: string): string {
  return (
    `PgBouncer at DATABASE_URL refuses our connections (${failure}). Add to its pgbouncer.ini, and reload it: ` +
    'ignore_startup_parameters = extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout'
  );
}

/** @throws UnfitServerError if a file that the address names cannot be read */
function createClient(url: string, timeoutMs: number): pg.Client {
  try {
    return new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      // The same startup parameters as the pool's: a pooler that refuses them is found here.
      statement_timeout: timeoutMs,
      lock_timeout: timeoutMs,
      idle_in_transaction_session_timeout: timeoutMs,
    });
  } catch (error) {
    throw new UnfitServerError(
      `DATABASE_URL cannot be used (${(error as Error).message}). Its sslrootcert, sslcert and sslkey must name readable files.`,
    );
  }
}

function placeOf(url: string): string {
  // An unreadable address is not shown: it may contain the password.
  if (!URL.canParse(url)) return 'the given address';
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}
