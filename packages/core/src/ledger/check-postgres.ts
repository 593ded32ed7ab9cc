/** Says whether a PostgreSQL can keep the ledger. */
import pg from 'pg';
import { POSTGRES_MAJOR_MIN } from '../config/limits.ts';
import { certificateFault } from '../runtime/certificate-error.ts';

/** A PostgreSQL is missing or unfit; the message is a sentence that says what to do. */
export class PostgresUnfitError extends Error {
  override name = 'PostgresUnfitError';
}

/** Nobody answered, or not us. */
class PostgresUnavailableError extends PostgresUnfitError {
  /** Waiting may help. */
  readonly mendsItself: boolean;

  constructor(sentence: string, mendsItself: boolean) {
    super(sentence);
    this.mendsItself = mendsItself;
  }
}

/** Milliseconds that a connection, and then an answer, may take. */
const ANSWER_MS = 3_000;

/**
 * Connects once, looks, and hangs up.
 *
 * @param waitMs milliseconds to go on trying while nobody answers (0 = one try)
 * @returns its version, for example "18.4"
 * @throws PostgresUnfitError when nobody answers, the login or the database is wrong, or it is too old
 */
export async function checkPostgres(url: string, waitMs = 0): Promise<string> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    try {
      return await lookAtPostgres(url, ANSWER_MS, judgeVersion);
    } catch (error) {
      if (!(error instanceof PostgresUnavailableError && error.mendsItself && Date.now() < deadline)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function judgeVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
  const version = rows[0]?.server_version ?? '';
  if (Number.parseInt(version, 10) < POSTGRES_MAJOR_MIN) {
    throw new PostgresUnfitError(
      `PostgreSQL ${version} is too old: version ${POSTGRES_MAJOR_MIN} or newer is needed. Upgrade it, or set DATABASE_URL to a newer one.`,
    );
  }
  return version;
}

/**
 * Connects for one look.
 *
 * @param timeoutMs milliseconds that the connection, and then each answer, may take
 * @throws PostgresUnfitError where nobody answers, or the login or the database is refused; or what `look` throws of its own
 */
export async function lookAtPostgres<Seen>(
  url: string,
  timeoutMs: number,
  look: (client: pg.Client) => Promise<Seen>,
): Promise<Seen> {
  const client = openForLook(url, timeoutMs);
  client.on('error', () => {});
  try {
    await client.connect();
    return await look(client);
  } catch (error) {
    if (error instanceof PostgresUnfitError) throw error;
    const { code = '', message } = error as Error & { code?: string };
    if (/unsupported startup parameter/i.test(message)) throw new PostgresUnfitError(pooler(message));
    // 28xxx: login refused, 3D000: no such database. Neither mends itself by waiting.
    const refused = code.startsWith('28') || code === '3D000';
    const untrusted = certificateFault(
      { code, message },
      {
        caFile: '?sslmode=verify-full&sslrootcert=/path/ca.pem at the end of DATABASE_URL',
        withoutTls: 'take sslmode out of DATABASE_URL',
      },
    );
    if (untrusted !== null) throw new PostgresUnfitError(`PostgreSQL at ${placeOf(url)} ${untrusted}`);
    throw new PostgresUnavailableError(absent(url, message || code, refused), !refused);
  } finally {
    await client.end().catch(() => {});
  }
}

function pooler(failure: string): string {
  return (
    `PgBouncer at DATABASE_URL refuses our connections (${failure}). Write into its pgbouncer.ini, and reload it: ` +
    'ignore_startup_parameters = extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout'
  );
}

/** @throws PostgresUnfitError where a file that the address names cannot be read */
function openForLook(url: string, timeoutMs: number): pg.Client {
  try {
    return new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      // As every pool of ours asks for them: a pooler that refuses them is found out here.
      statement_timeout: timeoutMs,
      lock_timeout: timeoutMs,
      idle_in_transaction_session_timeout: timeoutMs,
    });
  } catch (error) {
    throw new PostgresUnfitError(
      `DATABASE_URL cannot be used (${(error as Error).message}). Its sslrootcert, sslcert and sslkey must name files that can be read.`,
    );
  }
}

function placeOf(url: string): string {
  // An address that cannot be read is not shown: it may carry the password in an odd place.
  if (!URL.canParse(url)) return 'the given address';
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}

function absent(url: string, failure: string, refused: boolean): string {
  return refused
    ? `PostgreSQL at ${placeOf(url)} refuses the connection (${failure}). Check the user, the password and the database in DATABASE_URL.`
    : `No PostgreSQL answers at ${placeOf(url)} (${failure}). Start it, or correct DATABASE_URL.`;
}
