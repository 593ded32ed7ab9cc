/**
 * Warms the worker up before it takes jobs: it confirms orders of a scratch sale, so that V8 has
 * compiled that when a sale starts. No transaction is committed, and nothing of them remains.
 */
import { newOrderId, type OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import type { Pool } from '@flash-sale/core/ledger/connect-postgres.ts';
import { rehearseTransactions } from '@flash-sale/core/ledger/rehearse-transactions.ts';
import { decodeJob, encodeJob } from '@flash-sale/core/queue/order-queue.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { lend } from '@flash-sale/core/runtime/lend.ts';
import { muteLines } from '@flash-sale/core/runtime/logging.ts';
import type { Metrics } from '@flash-sale/core/runtime/metrics.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { withScratchSpace } from '@flash-sale/core/warm-up/scratch-space.ts';
import type { Logger } from 'pino';

/** Milliseconds after which no further batch is confirmed. */
const RUN_MS = 1_000;
const BATCHES = 50;
const ORDERS = 100;

/** A failure is a warning: the worker confirms slowly at first. */
export async function warmUp(worker: {
  settings: ServiceSettings;
  redis: AnyRedis;
  keys: Keys;
  inventory: Inventory;
  pool: Pool;
  metrics: Metrics;
  confirm: (batch: OrderBatch) => Promise<void>;
  log: Logger;
}): Promise<void> {
  const { settings, redis, keys, inventory, pool, metrics, confirm, log } = worker;
  if (settings.WARM_UP === 'off') return;
  const rehearsal = withScratchSpace({ redis, keyPrefix: settings.KEY_PREFIX }, async (space) => {
    const sale = space.sales.open;
    const restore = [
      metrics.startRehearsal(),
      muteLines(log, space.name),
      lend(keys, { sale: space.keys.sale, invalidationChannel: space.keys.invalidationChannel }),
      rehearseTransactions(pool, sale),
    ];
    try {
      await inventory.create(sale);
      const endsAt = performance.now() + RUN_MS;
      for (let i = 0; i < BATCHES && performance.now() < endsAt; i++) await confirm(await reserve(inventory, sale.id));
    } finally {
      for (const one of restore.reverse()) one();
    }
  });
  await rehearsal.catch((error: Error) =>
    log.warn({ err: error.message }, 'the warm-up failed: the first orders take longer'),
  );
}

/** @returns accepted orders, as a job brings them */
async function reserve(inventory: Inventory, saleId: string): Promise<OrderBatch> {
  const requests = Array.from({ length: ORDERS }, (_, i) => ({
    id: newOrderId(saleId),
    buyerId: `buyer${i}`,
    quantity: 1,
    requestId: 'warm-up',
    idempotencyKey: null,
  }));
  const { decisions } = await inventory.reserve(saleId, requests, -1, { capacity: 0, refillRate: 1 });
  const { outcome } = decisions[0] as (typeof decisions)[number];
  if (outcome.kind !== 'reserved') throw new Error(`orders of the scratch sale are ${outcome.kind}`);
  const { epoch, reservedAt } = outcome;
  const orders = requests.map((request) => ({ ...request, reservedAt }));
  return decodeJob(JSON.parse(JSON.stringify(encodeJob({ saleId, epoch, orders })))) as OrderBatch;
}
