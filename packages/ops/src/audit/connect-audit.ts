/** The auditor's own connections. */

import { withPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { checkMigrated } from '@flash-sale/core/ledger/migrate.ts';
import { readFromRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { type AnyRedis, connectRedis, openRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import pg from 'pg';

const CONNECT_MS = 5_000;
/** For one answer: a statement over a million orders takes about a second. */
const ANSWER_MS = 60_000;

export interface AuditConnections {
  readonly redis: AnyRedis;
  readonly pool: pg.Pool;
  close(): Promise<void>;
}

/** @throws UnfitServerError: a sentence that says what to do */
export async function connectForAudit(urls: { redisUrl: string; databaseUrl: string }): Promise<AuditConnections> {
  await readFromRedis(urls.redisUrl, CONNECT_MS, (redis) => redis.ping());
  await withPostgres(urls.databaseUrl, CONNECT_MS, () => checkMigrated(urls.databaseUrl));
  const redis = openRedis(urls.redisUrl, {
    connectionName: 'flash-sale-audit',
    connectTimeout: CONNECT_MS,
    commandTimeout: ANSWER_MS,
    maxRetriesPerRequest: 0,
    // A connection that breaks ends the audit.
    retryStrategy: () => null,
    autoResendUnfulfilledCommands: false,
  });
  redis.on('error', () => {});
  await connectRedis(redis);
  const pool = new pg.Pool({
    connectionString: urls.databaseUrl,
    application_name: 'flash-sale-audit',
    max: 2,
    connectionTimeoutMillis: CONNECT_MS,
    statement_timeout: ANSWER_MS,
    query_timeout: ANSWER_MS + 1_000,
  });
  // The next statement reports a connection that broke while it was idle.
  pool.on('error', () => {});
  return {
    redis,
    pool,
    async close() {
      redis.disconnect();
      await pool.end();
    },
  };
}
