/** The worker's steps, wired to a world as in worker.ts, for tests to run one at a time. */
import { newOrderId, type OrderBatch, type OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { StockNumbers } from '@flash-sale/core/domain/sale.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createInventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { createEpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import { identifyLedger } from '@flash-sale/core/ledger/ledger-id.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ConfirmDependencies, confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { rejectOrdersOfUnknownSale } from '@flash-sale/worker/orders/reject-orders.ts';
import { createInventoryWatch, type WatchDependencies } from '@flash-sale/worker/recovery/watch-inventories.ts';
import { beforeAll } from 'vitest';
import type { World } from './world.ts';

export const OPERATOR = { actor: 'test', requestId: 'r' };

export type WorkerSteps = ReturnType<typeof workerSteps>;

/** Of a file's own world: there from the first test on. */
export function useWorkerSteps(world: World): WorkerSteps {
  const steps = {} as WorkerSteps;
  beforeAll(() => {
    Object.assign(steps, workerSteps(world));
  });
  return steps;
}

/** @param world its ledger and its Redis may be of different worlds */
export function workerSteps(
  { redis, pool, keys, log }: Pick<World, 'redis' | 'pool' | 'keys' | 'log'>,
  proveLedger = (): Promise<string> => identifyLedger(pool),
) {
  const inventory = createInventory({ redis, keys });
  const dependencies = {
    inventory,
    rebuild: createInventoryRebuild({ redis, keys }),
    epochs: createEpochStore(pool),
    orders: createOrderStore(pool),
    sales: createSaleStore(pool),
    log,
    count: () => {},
    proveLedger,
  };
  const rejectUnknown = (batch: OrderBatch) => rejectOrdersOfUnknownSale(dependencies, batch);
  return {
    ...dependencies,
    rejectUnknown,

    /** One run of the loop that rebuilds inventories. */
    watchOnce: (changed: Partial<WatchDependencies> = {}): Promise<void> =>
      createInventoryWatch({ ...dependencies, ...changed }).runOnce(),

    confirm: (batch: OrderBatch, changed: Partial<ConfirmDependencies> = {}): Promise<OrderOutcome[]> =>
      confirmOrders({ ...dependencies, rejectUnknown, ...changed }, batch),

    numbers: async (saleId: string): Promise<StockNumbers | null> => (await inventory.read(saleId)).numbers,

    /** @returns the kind of outcome, and the id of the order that holds units */
    async order(saleId: string, wanted: { buyerId?: string; quantity?: number; key?: string } = {}) {
      const { buyerId = 'ann', quantity = 1, key: idempotencyKey = null } = wanted;
      const request = { id: newOrderId(saleId), buyerId, quantity, requestId: 'r', idempotencyKey };
      const { decisions } = await inventory.reserve(saleId, [request], -1, { capacity: 0, refillRate: 1 });
      const outcome = decisions[0]?.outcome;
      return { kind: outcome?.kind, id: outcome?.kind === 'replayed' ? outcome.orderId : request.id };
    },

    /** Reservations as a job carries them. @throws if one is missing */
    async batchOf(saleId: string, ids: string | readonly string[], epoch = 1): Promise<OrderBatch> {
      const found = await Promise.all([ids].flat().map((id) => inventory.findReservation(saleId, id)));
      const orders = found.map((order) => {
        if (order === null || order === 'recovering') throw new Error('no reservation');
        return order;
      });
      return { saleId, epoch, orders };
    },

    outcomeOf: async (id: string): Promise<{ status: string; reason: string | null } | undefined> =>
      (await pool.query('SELECT status, reason FROM orders WHERE id = $1', [id])).rows[0],

    epochsOf: async (saleId: string) =>
      (
        await pool.query('SELECT epoch, reason, opened_at FROM inventory_epochs WHERE sale_id = $1 ORDER BY epoch', [
          saleId,
        ])
      ).rows,

    /** As if another Redis had loaded this one's file: only the instance id differs. */
    otherInstance: (saleId: string): Promise<number> =>
      redis.hset(keys.sale(saleId).inventory, 'instance_id', 'f'.repeat(40)),

    /** Redis loses records of the sale: all of them, or the named ones. */
    async lose(saleId: string, ...only: ('inventory' | 'reservations' | 'stockChanges')[]): Promise<void> {
      const names = keys.sale(saleId);
      const { inventory, reservations, claims, redeliveries, buyers, orderKeys, stockChanges } = names;
      const all = [inventory, reservations, claims, redeliveries, buyers, orderKeys, stockChanges];
      await redis.del(...(only.length > 0 ? only.map((name) => names[name]) : all));
    },
  };
}
