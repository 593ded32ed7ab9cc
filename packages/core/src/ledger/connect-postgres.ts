/** The connection pool of the ledger, and the only way to run a transaction. */
import pg from 'pg';
import type { Logger } from 'pino';
import { isSilent } from '../runtime/errors.ts';
import { failpoint, type Transaction } from '../runtime/failpoints.ts';
import { refuseOtherLedger } from './ledger-id.ts';

/**
 * Milliseconds that a transaction waits for a sale's row, at most half of its statement timeout.
 * Batches hold it for tens of milliseconds; a longer lock must not block the jobs of other sales.
 */
const LOCK_WAIT_MS = 2_000;

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
    // For a silent server. Later than the server's own timeout, whose error says more.
    query_timeout: options.timeoutMs + 1_000,
    // PostgreSQL starts the statement's timer first: with equal bounds a lock wait would end as
    // 57014, not 55P03.
    lock_timeout: Math.min(LOCK_WAIT_MS, options.timeoutMs / 2),
    // A process that freezes in a transaction must not keep a sale's row locked.
    idle_in_transaction_session_timeout: options.timeoutMs,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    verify: refuseOtherLedger(),
  });
  // The pool replaces broken connections, but listens only to idle ones: an error of a connection
  // that is just being handed out would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', (error) => options.log.warn({ err: error.message }, 'postgres closed an idle connection'));
  return pool;
}

/** @throws if PostgreSQL does not answer */
export async function ping(pool: Pool): Promise<void> {
  await pool.query('SELECT 1');
}

/**
 * Runs `work` in one transaction: committed when it returns, rolled back when it throws. A
 * connection whose state is unknown is closed, not returned to the pool.
 *
 * @param name of its failpoints; null: it only reads
 */
export async function inTransaction<Result>(
  pool: Pool,
  name: Transaction | null,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  if (name) failpoint(name, 'begins');
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query(beginOf(pool));
    const result = await work(client);
    if (name) failpoint(name, 'commits');
    await client.query('COMMIT');
    if (name) failpoint(name, 'done');
    return result;
  } catch (error) {
    // A silent server would not answer a ROLLBACK either; closing the connection rolls back. A
    // read-only session stays so as long as it lives; a new one may reach the new primary.
    if (isSilent(error, 'postgres') || (error as { code?: string }).code === '25006') broken = error as Error;
    else await client.query('ROLLBACK').catch((failure: Error) => (broken = failure));
    throw error;
  } finally {
    client.release(broken);
  }
}

/**
 * Sets the pool's timeouts again for this transaction: behind PgBouncer in transaction mode a
 * connection's startup parameters never reach the server session. One round trip either way.
 */
function beginOf({ options }: Pool): string {
  const { statement_timeout, lock_timeout, idle_in_transaction_session_timeout } = options;
  const bounds = Object.entries({ statement_timeout, lock_timeout, idle_in_transaction_session_timeout });
  const set = bounds.flatMap(([name, ms]) => (ms ? [`SET LOCAL ${name} = ${Number(ms)}`] : []));
  return ['BEGIN', ...set].join('; ');
}

/** True if the server refused the statement's data: SQLSTATE classes 22 and 23. */
export function isRefusedData(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' && (code.startsWith('22') || code.startsWith('23'));
}
