/** Composes the worker: connections, the consumer of the queue, and the loops that repair. */
import { WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/config/limits.ts';
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import { createHeartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { claimRedis } from '@flash-sale/core/inventory/ledger-claim.ts';
import { createOpenReservations } from '@flash-sale/core/inventory/open-reservations.ts';
import { connectPostgres, ping } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { behindBreaker, createBreaker } from '@flash-sale/core/runtime/circuit-breaker.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { connectForWork } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { consumeWhenFull } from '@flash-sale/core/runtime/redis/full-redis.ts';
import type { Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import { deleteAbandonedSpaces } from '@flash-sale/core/warm-up/scratch-space.ts';
import type { Logger } from 'pino';
import { createSystemReader } from './metrics/read-system.ts';
import { registerSystemMetrics } from './metrics/system-metrics.ts';
import { confirmOrders } from './orders/confirm-orders.ts';
import { startOrderConsumer } from './orders/consume-orders.ts';
import { createOrderInstrumentation } from './orders/measure-orders.ts';
import { rejectOrders, rejectOrdersOfUnknownSale } from './orders/reject-orders.ts';
import { createClosedInventories } from './recovery/closed-inventories.ts';
import { createLoop } from './recovery/loop.ts';
import { createReaper } from './recovery/reaper.ts';
import { createSalePages } from './recovery/sale-pages.ts';
import { syncSales } from './recovery/sync-sales.ts';
import { createInventoryWatch } from './recovery/watch-inventories.ts';
import { warmUp } from './warm-up.ts';

/**
 * Milliseconds between two checks of the inventories, which is most of the downtime of a rebuild.
 */
const INVENTORY_WATCH_MS = 500;

/** Every nth run visits all sales, however old: every two minutes at the default intervals. */
const WATCH_ALL_EVERY = 240;
const REAP_ALL_EVERY = 60;

export async function startWorker(
  settings: ServiceSettings,
  log: Logger,
  metrics = createMetrics(),
  tracing: Tracing | null = null,
): Promise<{ stop(): Promise<void> }> {
  const keys = createKeys(settings.KEY_PREFIX);
  const silentMs = settings.WORKER_SILENT_MS;
  const atInventory = connectForWork({ url: settings.REDIS_URL, name: 'worker-inventory', log, silentMs });
  const atQueue = connectForWork({ url: settings.REDIS_URL, name: 'worker-queue', log, silentMs });
  consumeWhenFull(atQueue.redis);
  await Promise.all([atInventory.connect(), atQueue.connect()]);
  const pool = connectPostgres({
    url: settings.DATABASE_URL,
    size: settings.WORKER_CONCURRENCY + WORKER_LOOP_CONNECTIONS,
    timeoutMs: settings.WORKER_STATEMENT_MS,
    name: 'flash-sale-worker',
    log,
  });
  const { ledgerId } = settings;
  const [claim, queueClaim] = await Promise.all([
    claimRedis({ connection: atInventory, keys, ledgerId, log }),
    claimRedis({ connection: atQueue, keys, ledgerId, log }),
  ]);
  const withQueue = <Result>(work: () => Promise<Result>) => claim.call(() => queueClaim.call(work));
  const proveLedger = async (): Promise<string> => {
    await Promise.all([claim.verify(), queueClaim.verify()]);
    return ledgerId;
  };
  const breaker = createBreaker('postgres', log);
  const orders = behindBreaker(breaker, createOrderStore(pool));
  const sales = behindBreaker(breaker, createSaleStore(pool));
  const epochs = behindBreaker(breaker, createEpochStore(pool));
  const inventory = createInventory({ redis: atInventory.redis, keys });
  const rebuild = createInventoryRebuild({ redis: atInventory.redis, keys });
  const heartbeat = createHeartbeat({ redis: atInventory.redis, keys });
  const queue = createOrderQueue({ redis: atQueue.redis, prefix: keys.queuePrefix });

  const measures = createOrderInstrumentation(metrics.timeBatch, tracing);
  const measured = { inventory: measures.inventory(inventory), orders: measures.ledger(orders) };
  const count = metrics.countOrder;
  const reject = async (batch: OrderBatch) => {
    await proveLedger();
    await rejectOrders({ inventory, orders, log, count }, batch);
  };
  const closed = createClosedInventories();
  const repairing = { inventory, rebuild, epochs, orders, sales, proveLedger, log, count };
  const watch = createInventoryWatch(repairing, closed);
  const rejectUnknown = (batch: OrderBatch) => {
    watch.suspect(batch.saleId);
    return rejectOrdersOfUnknownSale(repairing, batch);
  };
  const confirming = { ...measured, rejectUnknown, log, count };
  const confirm = (batch: OrderBatch) =>
    withQueue(() => measures.confirmation(batch, () => confirmOrders(confirming, batch)));
  await warmUp({ settings, redis: atInventory.redis, keys, inventory, pool, metrics, confirm, log });
  const consumer = startOrderConsumer({
    redis: atQueue.redis,
    prefix: keys.queuePrefix,
    concurrency: settings.WORKER_CONCURRENCY,
    jobLockMs: settings.JOB_LOCK_MS,
    pollMs: settings.JOB_POLL_MS,
    confirm,
    reject,
    leaveToReaper: ({ saleId, orders: left }) =>
      inventory.resetRedeliveries(
        saleId,
        left.map((order) => order.id),
      ),
    ledgerAnswers: () =>
      breaker
        .call(() => ping(pool))
        .then(
          () => true,
          () => false,
        ),
    trace: measures.job,
    log,
  });

  const reaper = createReaper({ inventory, orders, sales, queue, reject, orphanAgeMs: settings.ORPHAN_AGE_MS, log });
  const intervalMs = settings.REAPER_INTERVAL_MS;
  const toSync = createSalePages(sales);
  let beatAt = Number.NEGATIVE_INFINITY;
  async function beat(): Promise<void> {
    if (!consumer.isRunning()) return;
    // Also writes the ledger's id to a Redis that was emptied.
    await claim.verify();
    await heartbeat.give(settings.WORKER_ALIVE_MS);
    beatAt = performance.now();
  }
  const reap = (all: boolean) =>
    withQueue(async () => {
      await reaper.runOnce(all);
      await deleteAbandonedSpaces({ redis: atInventory.redis, keyPrefix: settings.KEY_PREFIX });
    });
  const sync = () => claim.call(() => syncSales({ inventory, sales, log }, toSync));
  const loops = [
    createLoop({
      name: 'watch inventories',
      intervalMs: INVENTORY_WATCH_MS,
      allEvery: WATCH_ALL_EVERY,
      runOnce: (all) => claim.call(() => watch.runOnce(all)),
      log,
    }),
    createLoop({ name: 'reap orphans', intervalMs, allEvery: REAP_ALL_EVERY, runOnce: reap, log }),
    createLoop({ name: 'sync sales', intervalMs, runOnce: sync, log }),
    createLoop({ name: 'heartbeat', intervalMs: settings.WORKER_ALIVE_MS / 3, runOnce: beat, log }),
  ];
  // Before the first heartbeat: once the API is healthy, sales that have no inventory yet are open.
  await sync().catch(() => {});
  for (const loop of loops) loop.start();

  metrics.watchBreaker(breaker);
  metrics.watchPool(pool);
  metrics.watchWork(() => consumer.isRunning() && performance.now() - beatAt < settings.WORKER_ALIVE_MS);
  const reservations = createOpenReservations({ redis: atInventory.redis, keys });
  registerSystemMetrics(
    metrics,
    createSystemReader({ sales, epochs, inventory, reservations, queue, heartbeat, closed }),
  );

  return {
    async stop() {
      await Promise.all([consumer.close(), ...loops.map((loop) => loop.stop())]);
      await queue.close();
      breaker.close();
      await Promise.all([atInventory.close(), atQueue.close(), pool.end()]);
    },
  };
}
