/** The worker, composed: connections, the order worker, and the loops that repair. */
import { behindBreaker, createBreaker } from '@flash-sale/core/circuit-breaker.ts';
import { EnvironmentError } from '@flash-sale/core/environment.ts';
import { GATE_WATCH_MS, WORKER_ALIVE_S, WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/limits.ts';
import { createMetrics } from '@flash-sale/core/metrics.ts';
import type { OrderBatch } from '@flash-sale/core/orders/order.ts';
import { createOrderStore } from '@flash-sale/core/orders/order-store.ts';
import { connectPostgres, ping } from '@flash-sale/core/postgres/connect-postgres.ts';
import { readPostgresLoad } from '@flash-sale/core/postgres/read-load.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { connectForWork } from '@flash-sale/core/redis/connect-redis.ts';
import { createKeys } from '@flash-sale/core/redis/keys.ts';
import { readRedisLoad } from '@flash-sale/core/redis/read-load.ts';
import { createWorkerSign } from '@flash-sale/core/redis/worker-sign.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { createEpochStore } from '@flash-sale/core/sales/epoch-store.ts';
import { createSaleStore } from '@flash-sale/core/sales/sale-store.ts';
import { createGateRebuild } from '@flash-sale/core/stock/gate-rebuild.ts';
import { createOrdersUnderWay } from '@flash-sale/core/stock/orders-under-way.ts';
import { createStockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { SpanGroup, Tracing } from '@flash-sale/core/tracing/tracing.ts';
import type { Logger } from 'pino';
import { createSystemNumbers } from './numbers/read-system.ts';
import { startOrderWorker } from './order-worker.ts';
import { confirmOrders } from './orders/confirm-orders.ts';
import { giveUpOrders } from './orders/give-up-orders.ts';
import { createLoop } from './recovery/loop.ts';
import { createGateWatch } from './recovery/rebuild-gates.ts';
import { createSaleRepair } from './recovery/repair-sales.ts';
import { createSweep } from './recovery/sweep-strands.ts';

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
  const atGate = connectForWork({ url: settings.REDIS_URL, name: 'worker-gate', log });
  const atQueue = connectForWork({ url: settings.REDIS_URL, name: 'worker-queue', log });
  await Promise.all([atGate.connect(), atQueue.connect()]);
  const pool = connectPostgres({
    url: settings.DATABASE_URL,
    size: settings.DATABASE_POOL_SIZE,
    timeoutMs: settings.REQUEST_TIMEOUT_MS,
    name: 'flash-sale-worker',
    log,
  });

  const gate = createStockGate({ redis: atGate.redis, keys });
  const breaker = createBreaker('postgres', log);
  metrics.watchBreaker(breaker);
  metrics.watchPool(pool);
  const count = metrics.countOrder;
  const orders = behindBreaker(breaker, createOrderStore(pool));
  const sales = behindBreaker(breaker, createSaleStore(pool));
  const epochs = behindBreaker(breaker, createEpochStore(pool));
  const queue = createOrderQueue({ redis: atQueue.redis, prefix: keys.queuePrefix });
  const sign = createWorkerSign({ redis: atGate.redis, keys });
  const confirm = (batch: OrderBatch, spans: SpanGroup | null): Promise<void> =>
    confirmOrders({ gate, orders, log, count, time: metrics.timeBatch }, batch, spans);
  const giveUp = (batch: OrderBatch): Promise<void> => giveUpOrders({ gate, orders, log, count }, batch);

  metrics.watchSystem(
    createSystemNumbers({
      sales,
      epochs,
      postgresLoad: () => breaker.call(() => readPostgresLoad(pool)),
      gate,
      underWay: createOrdersUnderWay({ redis: atGate.redis, keys }),
      queue,
      sign,
      redisLoad: () => readRedisLoad(atGate.redis),
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
    giveUp,
    postpone: ({ saleId, orders: left }) =>
      gate.lowerHandOvers(
        saleId,
        left.map((order) => order.id),
      ),
    log,
    tracing,
  });
  const sweep = createSweep({ gate, orders, sales, queue, giveUp, strandAgeMs: settings.STRAND_AGE_MS, log });
  const repair = createSaleRepair({ gate, sales, log });
  const rebuild = createGateRebuild({ redis: atGate.redis, keys });
  const watch = createGateWatch({ gate, rebuild, epochs, orders, sales, log });
  const intervalMs = settings.SWEEP_INTERVAL_MS;
  let signGivenAt = Number.NEGATIVE_INFINITY;
  metrics.watchWork(() => worker.isRunning() && performance.now() - signGivenAt < WORKER_ALIVE_S * 1_000);
  const loops = [
    createLoop({ name: 'watch gates', intervalMs: GATE_WATCH_MS, runOnce: watch.runOnce, log }),
    createLoop({ name: 'sweep strands', intervalMs, runOnce: sweep.runOnce, log }),
    createLoop({ name: 'repair sales', intervalMs, runOnce: repair.runOnce, log }),
    createLoop({
      name: 'sign of life',
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
      await Promise.all([atGate.close(), atQueue.close(), pool.end()]);
    },
  };
}
