/** Warms a worker process up: a second worker without loops confirms orders of a scratch sale. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { syncSale } from '@flash-sale/core/inventory/sync-sale.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { type Scratch, scratchSales } from '@flash-sale/core/warm-up/warm-up.ts';
import { startWorker } from './worker.ts';

/** PostgreSQL gets slower if a transaction has more than 64 savepoints, and each job needs one. */
const JOBS = 50;
const ORDERS_PER_JOB = 100;

const NO_LIMIT = { capacity: 0, refillRate: 1 };

export async function rehearseConfirmations({ settings, pool, log, saleIds, endsAt }: Scratch): Promise<void> {
  const keys = createKeys(settings.KEY_PREFIX);
  const connection = connectForRequests({ url: settings.REDIS_URL, name: 'warm-up', log, timeoutMs: 1_000 });
  await connection.connect();
  const { redis } = connection;
  const inventory = createInventory({ redis, keys });
  const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
  const sales = createSaleStore(pool);
  const worker = await startWorker(settings, log, createMetrics(), null, { pool });
  try {
    const saleId = saleIds.open;
    const sale = scratchSales(saleIds).find(({ id }) => id === saleId);
    const created = sale && (await sales.create(sale, { actor: 'warm-up', requestId: 'warm-up' }));
    if (!created) return;
    await syncSale({ inventory, sales }, created);
    for (let job = 0; job < JOBS && performance.now() < endsAt; job++) {
      const requests = Array.from({ length: ORDERS_PER_JOB }, (_, i) => ({
        id: newOrderId(saleId),
        buyerId: `buyer${i}`,
        quantity: 1,
        requestId: 'warm-up',
        idempotencyKey: null,
        traceparent: undefined,
      }));
      const { decisions } = await inventory.reserve(saleId, requests, -1, NO_LIMIT);
      const orders = requests.flatMap((request, i) => {
        const outcome = decisions[i]?.outcome;
        return outcome?.kind === 'reserved' ? [{ ...request, reservedAt: outcome.reservedAt }] : [];
      });
      await queue.add([{ saleId, epoch: created.epoch, orders }]);
      while ((await inventory.withReservations([saleId])).length > 0 && performance.now() < endsAt);
    }
  } finally {
    await worker.stop();
    await queue.close();
    await connection.close();
  }
}
