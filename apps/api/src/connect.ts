/**
 * Connections of the API: Redis for requests, the queue and invalidations, and a PostgreSQL pool.
 */
import { type Identity, readIdentity } from '@flash-sale/core/config/identity.ts';
import { createGlobalRateLimiter } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import { subscribeToInvalidations } from '@flash-sale/core/inventory/invalidations.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { claimRedis } from '@flash-sale/core/inventory/ledger-claim.ts';
import { reserveKinds } from '@flash-sale/core/inventory/outcomes.ts';
import { writeFault } from '@flash-sale/core/ledger/check-postgres.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { type Breaker, behindBreaker, createBreaker } from '@flash-sale/core/runtime/circuit-breaker.ts';
import { lend } from '@flash-sale/core/runtime/lend.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { connectForRequests, connectForSubscription } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import type { ScratchSpace } from '@flash-sale/core/warm-up/scratch-space.ts';
import type { Logger } from 'pino';
import type { TokenVerifier } from './auth/verify-token.ts';

export type Connections = Awaited<ReturnType<typeof connect>>;

/** @throws if Redis is unavailable; EnvironmentError if the settings for AUTH are incomplete */
export async function connect(settings: ServiceSettings, log: Logger, metrics = createMetrics()) {
  const identity = readIdentity(settings);
  const timeoutMs = settings.REQUEST_TIMEOUT_MS;
  const keys = createKeys(settings.KEY_PREFIX);
  // Two connections, so that sending a large job does not delay the next reserve.
  const forRequests = connectForRequests({ url: settings.REDIS_URL, name: 'api-inventory', log, timeoutMs });
  const forQueue = connectForRequests({ url: settings.REDIS_URL, name: 'api-queue', log, timeoutMs });
  const pool = connectPostgres({
    url: settings.DATABASE_URL,
    size: settings.DATABASE_POOL_SIZE,
    timeoutMs,
    name: 'flash-sale-api',
    log,
  });
  await Promise.all([forRequests.connect(), forQueue.connect()]);
  // A connection in subscriber mode cannot send other commands.
  const subscriber = connectForSubscription({ url: settings.REDIS_URL, name: 'api-subscriber', log });
  await subscriber.connect();
  const { redis } = forRequests;
  const { ledgerId } = settings;
  const [claim, queueClaim] = await Promise.all([
    claimRedis({ connection: forRequests, keys, ledgerId, log }),
    claimRedis({ connection: forQueue, keys, ledgerId, log }),
  ]);
  const breakers = { redis: createBreaker('redis', log), postgres: createBreaker('postgres', log) };
  for (const breaker of Object.values(breakers)) metrics.watchBreaker(breaker);
  metrics.watchPool(pool);
  metrics.expectDecisions(reserveKinds);
  /** Without a detour once the claim is proven. */
  const atRedis: Pick<Breaker, 'call'> = {
    call: (work) => breakers.redis.call(claim.isProven() ? work : () => claim.call(work)),
  };
  const queue = createOrderQueue({ redis: forQueue.redis, prefix: keys.queuePrefix });
  const heartbeat = createHeartbeat({ redis, keys });
  const inventory = createInventory({ redis, keys, backlogLimit: settings.BACKLOG_LIMIT });
  const globalRateLimiter = createGlobalRateLimiter({ redis, keys, limit: settings.GLOBAL_RATE_LIMIT });
  const tokenVerifier = await loadTokenVerifier(identity, log);
  const sales = behindBreaker(breakers.postgres, createSaleStore(pool));

  return {
    redis,
    tokenVerifier,
    inventory: behindBreaker(atRedis, inventory),
    globalRateLimiter: behindBreaker(atRedis, globalRateLimiter),
    orders: behindBreaker(breakers.postgres, createOrderStore(pool)),
    sales,
    queue: { ...queue, add: (...args: Parameters<typeof queue.add>) => queueClaim.call(() => queue.add(...args)) },
    /** @param onInvalidation see core/inventory/invalidations.ts */
    subscribeToInvalidations: (onInvalidation: (saleId: string | null) => void) =>
      subscribeToInvalidations({ redis: subscriber.redis, keys }, onInvalidation),
    /**
     * For a warm-up: until the returned function is called, orders go to this space.
     *
     * @param token in front of a buyer's id: its bearer token
     */
    useSpace(space: ScratchSpace, token: string): () => Promise<void> {
      const { sale, globalRateLimiter: window, invalidationChannel } = space.keys;
      const spaceQueue = createOrderQueue({ redis: forQueue.redis, prefix: space.keys.queuePrefix });
      const known = new Map(Object.values(space.sales).map((one) => [one.id, one]));
      const { find } = sales;
      const recall = (given: string) => (given.startsWith(token) ? given.slice(token.length) : null);
      const restore = [
        lend(keys, { sale, globalRateLimiter: window, invalidationChannel }),
        lend(queue, { add: spaceQueue.add }),
        lend(sales, { find: async (id) => known.get(id) ?? find(id) }),
        tokenVerifier ? lend(tokenVerifier, { recall }) : () => {},
      ];
      return async () => {
        for (const one of restore) one();
        await spaceQueue.close();
      };
    },
    breakers,
    metrics,
    /**
     * Each rejects or hangs if its dependency is unavailable. Its result also counts in the
     * breaker.
     */
    probes: {
      redis: (): Promise<void> => breakers.redis.call(() => claim.verify().then(forRequests.tryWrite)),
      /** Orders can still be read from one that takes no writes: its breaker stays closed. */
      postgres: async (): Promise<void> => {
        const fault = await breakers.postgres.call(() => writeFault(pool));
        if (fault) throw new Error(`postgres ${fault.found}`);
      },
      worker: async (): Promise<void> => {
        if (!(await heartbeat.isFresh())) throw new Error('no worker has sent a heartbeat');
      },
    },
    async close(): Promise<void> {
      tokenVerifier?.close();
      await queue.close();
      for (const breaker of Object.values(breakers)) breaker.close();
      await Promise.all([forRequests.close(), forQueue.close(), subscriber.close(), pool.end()]);
    },
  };
}

/**
 * The JWT library takes 14 MB, so it is loaded only with AUTH=jwt.
 *
 * @returns null: X-User-ID is trusted
 */
async function loadTokenVerifier(identity: Identity, log: Logger): Promise<TokenVerifier | null> {
  if (identity.kind !== 'jwt') return null;
  const { createTokenVerifier } = await import('./auth/verify-token.ts');
  return createTokenVerifier(identity, { log });
}
