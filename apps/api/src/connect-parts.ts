/** Opens what the API works with: two connections to Redis, a pool to PostgreSQL, and the stores upon them. */
import { behindBreaker, createBreaker } from '@flash-sale/core/circuit-breaker.ts';
import { readIdentity } from '@flash-sale/core/identity.ts';
import { createMetrics } from '@flash-sale/core/metrics.ts';
import { createOrderStore } from '@flash-sale/core/orders/order-store.ts';
import { connectPostgres, ping } from '@flash-sale/core/postgres/connect-postgres.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createCatalogueCache } from '@flash-sale/core/redis/catalogue-cache.ts';
import { connectForNews, connectForRequests } from '@flash-sale/core/redis/connect-redis.ts';
import { createKeys } from '@flash-sale/core/redis/keys.ts';
import { listenForNews } from '@flash-sale/core/redis/sale-news.ts';
import { createWorkerSign } from '@flash-sale/core/redis/worker-sign.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { createSaleStore } from '@flash-sale/core/sales/sale-store.ts';
import { createStockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { createSystemWindow } from '@flash-sale/core/stock/system-window.ts';
import type { Logger } from 'pino';
import { createTokenJudge } from './identity/judge-token.ts';

export type Parts = Awaited<ReturnType<typeof connectParts>>;

/** @throws when Redis cannot be reached, or EnvironmentError where it is not settled who a buyer is */
export async function connectParts(settings: ServiceSettings, log: Logger, metrics = createMetrics()) {
  const identity = readIdentity(settings);
  const timeoutMs = settings.REQUEST_TIMEOUT_MS;
  const keys = createKeys(settings.KEY_PREFIX);
  // Two connections: a large job on its way to the queue must not stand before the next order at the gate.
  const atGate = connectForRequests({ url: settings.REDIS_URL, name: 'api-gate', log, timeoutMs });
  const atQueue = connectForRequests({ url: settings.REDIS_URL, name: 'api-queue', log, timeoutMs });
  const pool = connectPostgres({
    url: settings.DATABASE_URL,
    size: settings.DATABASE_POOL_SIZE,
    timeoutMs,
    name: 'flash-sale-api',
    log,
  });
  await Promise.all([atGate.connect(), atQueue.connect()]);
  const { redis } = atGate;
  // A third one, because a connection that listens can do nothing else.
  const atNews = connectForNews({ url: settings.REDIS_URL, name: 'api-news', log });
  await atNews.connect();
  const breakers = { redis: createBreaker('redis', log), postgres: createBreaker('postgres', log) };
  for (const breaker of Object.values(breakers)) metrics.watchBreaker(breaker);
  metrics.watchPool(pool);
  const queue = createOrderQueue({ redis: atQueue.redis, prefix: keys.queuePrefix });
  const workerSign = createWorkerSign({ redis, keys });

  const tokenJudge = identity.kind === 'jwt' ? createTokenJudge(identity, { log }) : null;

  return {
    /** null: X-User-ID is believed. */
    tokenJudge,
    gate: behindBreaker(breakers.redis, createStockGate({ redis, keys, backlogLimit: settings.BACKLOG_LIMIT })),
    systemWindow: behindBreaker(breakers.redis, createSystemWindow({ redis, keys, limit: settings.GLOBAL_RATE_LIMIT })),
    catalogueCache: behindBreaker(breakers.redis, createCatalogueCache({ redis, keys })),
    orders: behindBreaker(breakers.postgres, createOrderStore(pool)),
    sales: behindBreaker(breakers.postgres, createSaleStore(pool)),
    queue,
    /** @param onNews see listenForNews */
    listenForNews: (onNews: (saleId: string | null) => void) => listenForNews({ redis: atNews.redis, keys }, onNews),
    breakers,
    metrics,
    /** Each throws, or hangs, where its part does not answer. Behind the breakers, which are thereby true of a part that nobody else asks. */
    probes: {
      redis: (): Promise<void> => breakers.redis.call(() => atGate.ping()),
      postgres: (): Promise<void> => breakers.postgres.call(() => ping(pool)),
      worker: async (): Promise<void> => {
        if (!(await workerSign.isFresh())) throw new Error('no worker has given a sign of life');
      },
    },
    async close(): Promise<void> {
      tokenJudge?.close();
      await queue.close();
      for (const breaker of Object.values(breakers)) breaker.close();
      await Promise.all([atGate.close(), atQueue.close(), atNews.close(), pool.end()]);
    },
  };
}
