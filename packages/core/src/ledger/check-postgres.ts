/** Checks whether a PostgreSQL server can keep the ledger. */
import pg from 'pg';
import { POSTGRES_MAJOR_MIN } from '../config/limits.ts';
import { certificateFault, UnfitServerError, untilFit } from '../runtime/unfit-server.ts';

/** Milliseconds that a connection, and then an answer, may take. */
const ANSWER_MS = 3_000;

/**
 * @param waitMs milliseconds to retry while nothing answers; 0 = one try
 * @returns the server's version, for example "18.4"
 * @throws UnfitServerError if nothing answers, login or database are wrong, or it is too old
 */
export async function checkPostgres(url: string, waitMs = 0): Promise<string> {
  return untilFit(waitMs, () => withPostgres(url, ANSWER_MS, checkVersion));
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
