/** The worker, composed: connections, the order worker, and the loops that repair. */

import { EnvironmentError } from '@flash-sale/core/config/environment.ts';
import { INVENTORY_WATCH_MS, WORKER_ALIVE_S, WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/config/limits.ts';
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { createOrdersUnderWay } from '@flash-sale/core/inventory/open-reservations.ts';
import { connectPostgres, ping } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { readPostgresLoad } from '@flash-sale/core/ledger/read-load.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { behindBreaker, createBreaker } from '@flash-sale/core/runtime/circuit-breaker.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { connectForWork } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { readRedisLoad } from '@flash-sale/core/runtime/redis/read-load.ts';
import type { ServiceSettings } from '@flash-sale/core/runtime/run-service.ts';
import type { SpanGroup, Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import type { Logger } from 'pino';
import { createSystemNumbers } from './metrics/system-metrics.ts';
import { confirmOrders } from './orders/confirm-orders.ts';
import { startOrderWorker } from './orders/consume-orders.ts';
import { rejectOrders } from './orders/reject-orders.ts';
import { createLoop } from './recovery/loop.ts';
import { createReaper } from './recovery/reaper.ts';
import { createRebuild } from './recovery/rebuild.ts';
import { createSaleSync } from './recovery/sync-sales.ts';

/** @throws EnvironmentError where the jobs would wait for each other's database connections */
export async function startWorker(
  settings: ServiceSettings,
  log: Logger,
  metrics = createMetrics(),
  tracing: Tracing | null = null,
): Promise<{ stop(): Promise<void> }> {
  if (settings.DATABASE_POOL_SIZE < settings.WORKER_CONCURRENCY + WORKER_LOOP_CONNECTIONS) {
    throw new EnvironmentError(
      `DATABASE_POOL_SIZE is ${settings.DATABASE_POOL_SIZE}: too small for WORKER_CONCURRENCY=${settings.WORKER_CONCURRENCY}, ` +
        `which needs ${settings.WORKER_CONCURRENCY + WORKER_LOOP_CONNECTIONS} connections. Raise the one or lower the other.`,
    );
  }
  const keys = createKeys(settings.KEY_PREFIX);
  const atInventory = connectForWork({ url: settings.REDIS_URL, name: 'worker-inventory', log });
  const atQueue = connectForWork({ url: settings.REDIS_URL, name: 'worker-queue', log });
  await Promise.all([atInventory.connect(), atQueue.connect()]);
  const pool = connectPostgres({
    url: settings.DATABASE_URL,
    size: settings.DATABASE_POOL_SIZE,
    timeoutMs: settings.REQUEST_TIMEOUT_MS,
    name: 'flash-sale-worker',
    log,
  });

  const inventory = createInventory({ redis: atInventory.redis, keys });
  const breaker = createBreaker('postgres', log);
  metrics.watchBreaker(breaker);
  metrics.watchPool(pool);
  const count = metrics.countOrder;
  const orders = behindBreaker(breaker, createOrderStore(pool));
  const sales = behindBreaker(breaker, createSaleStore(pool));
  const epochs = behindBreaker(breaker, createEpochStore(pool));
  const queue = createOrderQueue({ redis: atQueue.redis, prefix: keys.queuePrefix });
  const sign = createHeartbeat({ redis: atInventory.redis, keys });
  const confirm = (batch: OrderBatch, spans: SpanGroup | null): Promise<void> =>
    confirmOrders({ inventory, orders, log, count, time: metrics.timeBatch }, batch, spans);
  const reject = (batch: OrderBatch): Promise<void> => rejectOrders({ inventory, orders, log, count }, batch);

  metrics.watchSystem(
    createSystemNumbers({
      sales,
      epochs,
      postgresLoad: () => breaker.call(() => readPostgresLoad(pool)),
      inventory,
      underWay: createOrdersUnderWay({ redis: atInventory.redis, keys }),
      queue,
      sign,
      redisLoad: () => readRedisLoad(atInventory.redis),
    }),
  );

  const worker = startOrderWorker({
    redis: atQueue.redis,
    prefix: keys.queuePrefix,
    concurrency: settings.WORKER_CONCURRENCY,
    jobLockMs: settings.JOB_LOCK_MS,
    confirm,
    ledgerAnswers: () =>
      breaker
        .call(() => ping(pool))
        .then(
          () => true,
          () => false,
        ),
    reject,
    postpone: ({ saleId, orders: left }) =>
      inventory.lowerRedeliveries(
        saleId,
        left.map((order) => order.id),
      ),
    log,
    tracing,
  });
  const reaper = createReaper({ inventory, orders, sales, queue, reject, orphanAgeMs: settings.ORPHAN_AGE_MS, log });
  const repair = createSaleSync({ inventory, sales, log });
  const rebuild = createInventoryRebuild({ redis: atInventory.redis, keys });
  const watch = createRebuild({ inventory, rebuild, epochs, orders, sales, log });
  const intervalMs = settings.REAPER_INTERVAL_MS;
  let signGivenAt = Number.NEGATIVE_INFINITY;
  metrics.watchWork(() => worker.isRunning() && performance.now() - signGivenAt < WORKER_ALIVE_S * 1_000);
  const loops = [
    createLoop({ name: 'watch inventories', intervalMs: INVENTORY_WATCH_MS, runOnce: watch.runOnce, log }),
    createLoop({ name: 'reaper orphans', intervalMs, runOnce: reaper.runOnce, log }),
    createLoop({ name: 'repair sales', intervalMs, runOnce: repair.runOnce, log }),
    createLoop({
      name: 'heartbeat',
      intervalMs: (WORKER_ALIVE_S * 1_000) / 3,
      runOnce: async () => {
        if (!worker.isRunning()) return;
        await sign.give();
        signGivenAt = performance.now();
      },
      log,
    }),
  ];
  for (const loop of loops) loop.start();

  return {
    async stop() {
      await Promise.all([worker.close(), ...loops.map((loop) => loop.stop())]);
      await queue.close();
      breaker.close();
      await Promise.all([atInventory.close(), atQueue.close(), pool.end()]);
    },
  };
}
