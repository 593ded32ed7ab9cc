/** The pool of connections to the ledger, and the one way to run a transaction. */
import pg from 'pg';
import type { Logger } from 'pino';
import { LOCK_WAIT_MS } from '../config/limits.ts';
import { failpoint, type Transaction } from '../runtime/failpoints.ts';

export type Pool = pg.Pool;
export type Client = pg.PoolClient;

/**
 * @param size connections that this process may hold
 * @param timeoutMs milliseconds that a connection, and then a statement, may take
 */
export function connectPostgres(options: {
  url: string;
  size: number;
  timeoutMs: number;
  name: string;
  log: Logger;
}): Pool {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.size,
    application_name: options.name,
    connectionTimeoutMillis: options.timeoutMs,
    statement_timeout: options.timeoutMs,
    // For a server that is silent. Later than its own timeout, so that where it lives it is the one that says so.
    query_timeout: options.timeoutMs + 1_000,
    lock_timeout: LOCK_WAIT_MS,
    // A process that is frozen in the middle of a transaction must not keep a sale's row from all others.
    idle_in_transaction_session_timeout: options.timeoutMs,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  });
  // An idle connection that breaks is replaced by the pool; without a listener it would end the process.
  pool.on('error', (error) => options.log.warn({ err: error.message }, 'postgres closed an idle connection'));
  return pool;
}

/** @throws where PostgreSQL does not answer */
export async function ping(pool: Pool): Promise<void> {
  await pool.query('SELECT 1');
}

/**
 * Runs `work` in one transaction: committed when it returns, rolled back when it throws. A connection whose outcome is
 * unknown is thrown away, not returned to the pool.
 *
 * @param name of what it writes; a process can be made to die at its steps. null: it only reads
 */
export async function inTransaction<Result>(
  pool: Pool,
  name: Transaction | null,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  if (name) failpoint(name, 'begins');
  const client = await pool.connect();
  let broken: Error | undefined;
  // The pool listens only to connections that are idle; an error that nobody listens to would end the process.
  const onError = (error: Error): void => {
    broken = error;
  };
  client.on('error', onError);
  try {
    await client.query(beginOf(pool));
    const result = await work(client);
    if (name) failpoint(name, 'commits');
    await client.query('COMMIT');
    if (name) failpoint(name, 'done');
    return result;
  } catch (error) {
    // This session is read-only for as long as it lives: its server was primary before, or it was made so. A new one may find another.
    if ((error as { code?: string }).code === '25006') broken = error as Error;
    await client.query('ROLLBACK').catch((failure: Error) => {
      broken = failure;
    });
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/**
 * The bounds of the pool once more, for this transaction: behind PgBouncer in transaction mode those that a connection asks for as it begins
 * are another session's, and never reach the server. One round trip either way.
 */
function beginOf({ options }: Pool): string {
  const { statement_timeout, lock_timeout, idle_in_transaction_session_timeout } = options;
  const bounds = Object.entries({ statement_timeout, lock_timeout, idle_in_transaction_session_timeout });
  const set = bounds.flatMap(([name, ms]) => (ms ? [`SET LOCAL ${name} = ${Number(ms)}`] : []));
  return ['BEGIN', ...set].join('; ');
}

/** True where the server looked at the statement and refused its data (and so is alive): SQLSTATE classes 22 and 23. */
export function isRefusedData(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' && (code.startsWith('22') || code.startsWith('23'));
}
