/** The auditor's own connections: to look once, and to say in a sentence why it cannot. */

import { hostsOf, readRedisAddress } from '@flash-sale/core/config/redis-address.ts';
import { type AnyRedis, connectRedis, openRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import pg from 'pg';

/** Milliseconds until a server that does not answer counts as away. */
const CONNECT_MS = 5_000;
/** Milliseconds that one answer may take: a statement over a million orders takes about a second. */
const ANSWER_MS = 60_000;

/** Nothing can be said of the sales; the message is a sentence that says what to do. */
class CannotAuditError extends Error {
  override name = 'CannotAuditError';
}

export interface AuditConnections {
  readonly redis: AnyRedis;
  readonly pool: pg.Pool;
  close(): Promise<void>;
}

/** @throws CannotAuditError */
export async function connectForAudit(urls: { redisUrl: string; databaseUrl: string }): Promise<AuditConnections> {
  const redis = await openForAudit(urls.redisUrl);
  const pool = new pg.Pool({
    connectionString: urls.databaseUrl,
    application_name: 'flash-sale-audit',
    max: 2,
    connectionTimeoutMillis: CONNECT_MS,
    statement_timeout: ANSWER_MS,
    query_timeout: ANSWER_MS + 1_000,
  });
  // One that breaks while it is idle is found out by the next statement.
  pool.on('error', () => {});
  const close = async (): Promise<void> => {
    redis.disconnect();
    await pool.end();
  };
  try {
    await checkLedger(pool, urls.databaseUrl);
  } catch (error) {
    await close();
    throw error;
  }
  return { redis, pool, close };
}

async function openForAudit(url: string): Promise<AnyRedis> {
  const redis = openRedis(url, {
    connectionName: 'flash-sale-audit',
    connectTimeout: CONNECT_MS,
    commandTimeout: ANSWER_MS,
    maxRetriesPerRequest: 0,
    // One that breaks in the middle ends the audit: what was seen before it is of another life.
    retryStrategy: () => null,
    autoResendUnfulfilledCommands: false,
  });
  let failure = '';
  const note = (error: Error): void => {
    failure ||= error.message;
  };
  redis.on('node error', note);
  redis.on('error', note);
  try {
    await connectRedis(redis);
    await redis.ping();
    return redis;
  } catch (error) {
    redis.disconnect();
    const why = failure || (error as Error).message;
    throw new CannotAuditError(`Redis at ${placeOf(url)} cannot be read (${why}). Start it, or correct REDIS_URL.`);
  }
}

async function checkLedger(pool: pg.Pool, url: string): Promise<void> {
  try {
    await pool.query('SELECT epoch FROM sales UNION ALL SELECT epoch FROM inventory_epochs LIMIT 1');
    // What finds one sale's orders (read-ledger.ts) relies on it: without it a row with a strange id would be seen by nobody.
    const { rowCount } = await pool.query(
      `SELECT FROM pg_constraint WHERE conrelid = 'orders'::regclass AND conname = 'orders_id_of_sale' AND convalidated`,
    );
    if (rowCount === 0)
      throw new CannotAuditError(
        `The constraint orders_id_of_sale is missing at ${placeOf(url)}. Type: npm run migrate`,
      );
  } catch (error) {
    if (error instanceof CannotAuditError) throw error;
    const { code, message } = error as Error & { code?: string };
    // 42P01, 42703: there is no such table, no such column.
    throw new CannotAuditError(
      code === '42P01' || code === '42703'
        ? `The ledger's tables at ${placeOf(url)} are not up to date (${message}). Type: npm run migrate`
        : `PostgreSQL at ${placeOf(url)} cannot be read (${message || code}). Start it, or correct DATABASE_URL.`,
    );
  }
}

/** Without user and password. */
function placeOf(url: string): string {
  const redis = readRedisAddress(url);
  if (redis && redis.kind !== 'server') return hostsOf(url);
  try {
    const { host, pathname } = new URL(url);
    return `${host}${pathname}`;
  } catch {
    return 'the given address';
  }
}
