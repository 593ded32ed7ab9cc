/** A command's own connections to Redis and the ledger. */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { compareLedger } from '@flash-sale/core/inventory/ledger-claim.ts';
import { withPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { readLedgerId } from '@flash-sale/core/ledger/ledger-id.ts';
import { checkMigrated } from '@flash-sale/core/ledger/migrate.ts';
import { createLogger, STDERR } from '@flash-sale/core/runtime/logging.ts';
import { readFromRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';

const CONNECT_MS = 5_000;
/** For one answer: a statement over a million orders takes about a second. */
const ANSWER_MS = 60_000;

/**
 * @param prefix KEY_PREFIX
 * @param name shown by the servers: flash-sale-audit
 * @throws UnfitServerError: a sentence that says what to do; or an Error if Redis is lost meanwhile
 */
export async function connectStores(urls: { redisUrl: string; databaseUrl: string; prefix: string }, name: string) {
  await readFromRedis(urls.redisUrl, CONNECT_MS, (redis) => redis.ping());
  await withPostgres(urls.databaseUrl, CONNECT_MS, () => checkMigrated(urls.databaseUrl));
  const options = { name, timeoutMs: ANSWER_MS, log: createLogger(name, 'info', STDERR) };
  const pool = connectPostgres({ url: urls.databaseUrl, size: 2, ...options });
  const connection = connectForRequests({ url: urls.redisUrl, ...options });
  const close = async (): Promise<void> => {
    await Promise.all([connection.close(), pool.end()]);
  };
  try {
    await connection.connect();
    await compareLedger(connection.redis, createKeys(urls.prefix), await readLedgerId(pool));
  } catch (error) {
    // It would retry for ever.
    await close();
    throw error;
  }
  return { redis: connection.redis, pool, close };
}
