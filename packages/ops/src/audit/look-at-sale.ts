/** One look at a sale: reads the inventory, then the ledger, and says what is suspicious. */

import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Pool } from 'pg';
import { type Equation, type InventoryState, type SaleAudit, suspect } from './audit-report.ts';
import { inventoryState, judgeInventory, readEquation } from './judge-gate.ts';
import { judgeLedger, judgeSettings } from './judge-ledger.ts';
import { judgeOrders } from './judge-orders.ts';
import { type Candidates, type InventorySnapshot, parseOrderKey, readInventory, readPulse } from './read-gate.ts';
import type { AuditedJob } from './read-jobs.ts';
import { readChanges, readLedger } from './read-ledger.ts';
import type { Said } from './weigh-looks.ts';

export interface Look extends Said {
  /** False where neither ledger nor Redis has anything of such a sale. */
  readonly known: boolean;
  readonly inventory: InventoryState;
  readonly epoch: number | null;
  readonly equation: Equation | null;
  readonly ledger: SaleAudit['ledger'];
  readonly perBuyerLimit: number;
  /** The numbers of inventory and ledger as text: another text in another look, and the sale is live. */
  readonly numbers: string;
  /** Whether the inventory's numbers moved during this look. */
  readonly moved: boolean;
}

/** Where and by what bounds is looked. */
export interface Lookout {
  readonly redis: AnyRedis;
  readonly pool: Pool;
  readonly saleKeys: SaleKeys;
  readonly saleId: string;
  readonly stuckAfterMs: number;
  readonly inventoryPatienceMs: number;
}

export async function lookAtSale(lookout: Lookout, jobs: readonly AuditedJob[], candidates: Candidates): Promise<Look> {
  const { redis, pool, saleKeys, saleId } = lookout;
  // A change that is finished while the inventory is read is on one side of it or on the other.
  const changesBefore = await readChanges(pool, saleId);
  const inventory = await readInventory(redis, saleKeys, candidates);
  let pulse = { at: 0, numbers: '' };
  const ledger = await readLedger(pool, {
    saleId,
    at: inventory.at,
    ...askedFor(inventory, jobs),
    async now() {
      pulse = await readPulse(redis, saleKeys);
      return pulse.at;
    },
  });
  if (!ledger) return withoutLedger(saleId, inventory, jobs);
  const state = inventoryState(inventory, ledger.sale.inventoryVersion);
  const suspects = judgeLedger(ledger);
  let doubts: readonly string[] = [];
  if (state === 'open') {
    suspects.push(
      ...judgeInventory(inventory),
      ...judgeSettings(inventory, ledger, changesBefore, lookout.stuckAfterMs),
    );
    if (inventory.wrongType === null) {
      const { stuckAfterMs } = lookout;
      const orders = judgeOrders({ saleId, jobs, inventory, ledger, stuckAfterMs });
      suspects.push(...orders.suspects);
      doubts = orders.doubts;
    }
  } else if (state === 'not opened yet' && ledger.sale.madeMsAgo > lookout.inventoryPatienceMs) {
    suspects.push(
      suspect('INVENTORY_MISSING', 'inventory', 'The ledger has this sale, and its inventory was never made.'),
    );
  }
  const numbers = String(['allotment', 'available', 'reserved', 'sold'].map((name) => inventory.fields.get(name)));
  const { sale, confirmed, rejectedOrders } = ledger;
  return {
    known: true,
    inventory: state,
    epoch: sale.epoch,
    equation: state === 'open' ? readEquation(inventory) : null,
    ledger: { allotment: sale.allotment, sold: sale.sold, confirmed: confirmed.orders, rejected: rejectedOrders },
    perBuyerLimit: sale.perBuyerLimit,
    numbers: `${numbers} ${confirmed.orders} ${rejectedOrders} ${sale.allotment}`,
    moved: state === 'open' && numbers !== pulse.numbers,
    suspects,
    doubts,
  };
}

/** Whom the ledger must be asked about: whoever the inventory, the jobs and the candidates name. */
function askedFor(inventory: InventorySnapshot, jobs: readonly AuditedJob[]) {
  const reservedIds = [...inventory.reservations.keys()];
  const orderIds = new Set(reservedIds);
  for (const job of jobs) for (const { id } of job.orders) orderIds.add(id);
  for (const [field, value] of inventory.orderKeys) {
    const led = value === null ? null : parseOrderKey(field, value);
    if (led) orderIds.add(led.id);
  }
  const buyerIds = new Set(inventory.buyers.keys());
  for (const reservation of inventory.reservations.values()) if (reservation) buyerIds.add(reservation.buyerId);
  const keyFields = [...inventory.orderKeys.keys()].filter((field) => field.includes(' '));
  return { reservedIds, orderIds: [...orderIds], buyerIds: [...buyerIds], keyFields };
}

/** Nothing can be held against a ledger that does not know the sale; that Redis knows it is enough. */
function withoutLedger(saleId: string, inventory: InventorySnapshot, jobs: readonly AuditedJob[]): Look {
  const known =
    inventory.fields.size > 0 || inventory.reservations.size > 0 || jobs.length > 0 || inventory.wrongType !== null;
  const has = [
    ...(inventory.fields.size > 0 ? ['an inventory'] : []),
    ...(inventory.reservations.size > 0 ? [`${inventory.reservations.size} reservations`] : []),
    ...(jobs.length > 0 ? [`${jobs.length} jobs on their way`] : []),
  ];
  const detail = `Redis has ${has.join(' and ') || 'keys'} of this sale, and the ledger does not know it.`;
  const state = inventoryState(inventory, 1);
  return {
    known,
    inventory: state,
    epoch: null,
    equation: state === 'open' ? readEquation(inventory) : null,
    ledger: { allotment: 0, sold: 0, confirmed: 0, rejected: 0 },
    perBuyerLimit: 0,
    numbers: '',
    moved: false,
    suspects: known ? [suspect('SALE_NOT_IN_LEDGER', saleId, detail)] : [],
    doubts: [],
  };
}
