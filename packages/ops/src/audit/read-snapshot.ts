/**
 * One snapshot of a sale, read in the order in which an order moves: jobs, inventory, ledger. An
 * order is in at least one of them.
 */
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Pool } from 'pg';
import type { InventoryState } from './audit-report.ts';
import { findBuyers } from './find-buyers.ts';
import { type InventorySnapshot, NUMBERS, readInventory, readNumbers } from './read-inventory.ts';
import { readLedger } from './read-ledger.ts';

export interface SaleStores {
  readonly redis: AnyRedis;
  readonly pool: Pool;
  readonly saleKeys: SaleKeys;
  readonly saleId: string;
}

/** A job of the queue that is not done. */
export interface AuditedJob extends OrderBatch {
  readonly id: string;
}

export type SaleSnapshot = Awaited<ReturnType<typeof readSnapshot>>;

/**
 * @param jobs of the sale, read before this is called: by then, an order in a job has a reservation
 * or has ended
 * @param settleMs within which an order or a stock change ends (I3). Younger ones may be open.
 */
export async function readSnapshot(stores: SaleStores, jobs: readonly AuditedJob[], settleMs: number) {
  const { redis, pool, saleKeys, saleId } = stores;
  const buyers = await findBuyers(stores);
  const inventory = await readInventory(redis, saleKeys, buyers);
  let after = { at: 0, numbers: '' };
  const ledger = await readLedger(pool, {
    saleId,
    at: inventory.at,
    settleMs,
    ...idsOf(inventory, jobs),
    async now() {
      after = await readNumbers(redis, saleKeys);
      return after.at;
    },
  });
  const { fields, instanceId } = inventory;
  const state: InventoryState =
    fields.size === 0 ? 'missing' : fields.get('instance_id') === instanceId ? 'open' : 'closed';
  /** Whether the inventory's numbers moved while this was read. */
  const moved = state === 'open' && ledger !== null && after.numbers !== numbersOf(inventory);
  return { saleId, jobs, inventory, state, ledger, settleMs, moved };
}

export function numbersOf({ fields }: InventorySnapshot): string {
  return String(NUMBERS.map((name) => fields.get(name) ?? ''));
}

/** Every order and buyer that inventory and jobs name. */
function idsOf({ reservations, buyers }: InventorySnapshot, jobs: readonly AuditedJob[]) {
  const reservedIds = [...reservations.keys()];
  const inJobs = jobs.flatMap(({ orders }) => orders.map(({ id }) => id));
  const reserving = [...reservations.values()].flatMap((reservation) => reservation?.buyerId ?? []);
  return {
    reservedIds,
    orderIds: [...new Set([...reservedIds, ...inJobs])],
    buyerIds: [...new Set([...buyers.keys(), ...reserving])],
  };
}
