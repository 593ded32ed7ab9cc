/**
 * Makes inventories anew that cannot be trusted any more: Redis was restarted, failed over, restored or emptied, or an inventory's records are not in step
 * with each other. Admission closed by itself as that happened; here it is opened again.
 *   1. Take the lease, so that no other worker does the same, and look again.
 *   2. The ledger raises the sale's epoch, above the inventory's. From here on it confirms no order of an older one before the inventory is open.
 *   3. Close the inventory in Redis, in this epoch. From here on nobody but us writes to it.
 *   4. Sift the reservations that are left: those that the ledger has are dropped; the others go on.
 *   5. Restore what each buyer holds, the idempotency keys and the decided changes of stock, from the ledger and those reservations.
 *   6. Open it, with the ledger's numbers.
 * Killed anywhere, it is begun again in a higher epoch; frozen and woken, it is refused.
 */
import { randomUUID } from 'node:crypto';
import { REBUILD_CHUNK, REBUILD_LEASE_MS } from '@flash-sale/core/config/limits.ts';
import type { AcceptedOrder, OrderOutcome } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { InventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import type { InventoryCheck } from '@flash-sale/core/inventory/outcomes.ts';
import type { EpochStore, InventorySource } from '@flash-sale/core/ledger/epoch-store.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { LedgerSale, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { Logger } from 'pino';

/** Every so many turns all sales are looked at, however old: two minutes at the usual interval. */
const FULL_TURN_EVERY = 240;

export function createRebuild(parts: {
  inventory: Pick<Inventory, 'check'>;
  rebuild: InventoryRebuild;
  epochs: EpochStore;
  orders: Pick<OrderStore, 'outcomesOf' | 'reject'>;
  sales: Pick<SaleStore, 'listToWatch' | 'find'>;
  log: Logger;
}) {
  const { inventory, rebuild, epochs, orders, sales, log } = parts;
  /** Since when (performance.now) each closed inventory was seen to be so. */
  const closedSince = new Map<string, number>();
  let turns = 0;
  let lookAtAll = true;

  /** @returns false where another worker is at it */
  async function rebuildSale(saleId: string, closedMs: number): Promise<boolean> {
    const token = randomUUID();
    if (!(await rebuild.takeLease(saleId, token))) return false;
    // The ledger may take longer over one statement than a lease lasts: others would begin again and again, and none come to the end. Who is
    // frozen does not renew it.
    const renewing = setInterval(() => void rebuild.renewLease(saleId).catch(() => {}), REBUILD_LEASE_MS / 3);
    try {
      // Between our look and the lease another worker may have made it: an open inventory is not closed for that.
      const found = await look(saleId);
      if (found === null || found.condition === 'sound') return true;
      const reason = found.condition;
      const epoch = await epochs.begin(saleId, { reason, inventoryEpoch: found.epoch, closedMs });
      if (epoch === null) return true;
      log.warn({ sale_id: saleId, epoch, reason }, 'the inventory is closed and is rebuilt');
      await rebuild.close(saleId, epoch);
      const left = await sift(saleId, epoch);
      const made = await epochs.read(saleId, (source) => restore(source, epoch, left));
      if (!made) return true;
      await epochs.finish(saleId, epoch, made);
      log.warn({ sale_id: saleId, epoch, reason, ...made }, 'the inventory is open again');
      return true;
    } finally {
      clearInterval(renewing);
      await rebuild.returnLease(saleId, token).catch(() => {});
    }
  }

  /** @returns null where the sale is unknown */
  async function look(saleId: string): Promise<InventoryCheck | null> {
    const sale = await sales.find(saleId);
    return sale && inventory.check(saleId, sale.epoch);
  }

  /** Drops the reservations that the ledger has a word on. @returns the others, by order id */
  async function sift(saleId: string, epoch: number): Promise<Map<string, AcceptedOrder>> {
    const left = new Map<string, AcceptedOrder>();
    for await (const { orders: found, unreadable } of rebuild.reservations(saleId)) {
      const ended = new Set<string>(unreadable);
      for (const id of unreadable)
        log.error(
          { order_id: id, sale_id: saleId },
          'a reservation cannot be read and is dropped; find its order with: npm run recover:orders',
        );
      const outcomes = await orders.outcomesOf(found.map((order) => order.id));
      for (const outcome of outcomes) ended.add(outcome.id);
      for (const order of found) if (!ended.has(order.id)) left.set(order.id, order);
      if (ended.size > 0) await rebuild.drop(saleId, epoch, [...ended]);
    }
    return left;
  }

  async function restore(
    source: InventorySource,
    epoch: number,
    left: Map<string, AcceptedOrder>,
  ): Promise<{ reserved: number; sold: number; lost: number; version: number }> {
    const { sale } = source;
    const allotment = await restoreChanges(source, epoch);
    const lost = await rejectSurplus(sale, epoch, left, allotment);
    const kept = [...left.values()];
    const reserved = unitsOf(kept);
    await rebuild.remember(
      sale.id,
      epoch,
      kept.map((order) => order.id),
    );
    if (sale.perBuyerLimit > 0) await restoreBuyers(source, epoch, kept);
    await restoreKeys(source, epoch, kept);
    await rebuild.open(sale, epoch, { allotment, sold: sale.sold, reserved, orders: kept.length });
    return { reserved, sold: sale.sold, lost, version: sale.version };
  }

  /**
   * A decided change must not be decided again. One that is still under way: units that are added are in the ledger's allotment already, so
   * it is applied; units that are withdrawn are not, so it is applied only where the inventory had done so and still knows. One that the inventory knows
   * and the ledger does not is of a ledger that was lost: whoever asks for it again means it.
   *
   * @returns the inventory's allotment
   */
  async function restoreChanges({ sale, changes }: InventorySource, epoch: number): Promise<number> {
    const known = await rebuild.decidedChanges(sale.id);
    const inLedger = new Set(changes.map((change) => change.id));
    const lost = [...known.keys()].filter((id) => !inLedger.has(id));
    await rebuild.forgetChanges(sale.id, epoch, lost);
    let allotment = sale.allotment;
    const fields: [string, string][] = [];
    for (const change of changes) {
      if (change.state !== 'pending') fields.push([change.id, change.state]);
      else if (change.delta > 0) fields.push([change.id, 'applied']);
      else if (known.get(change.id) === 'applied') allotment += change.delta;
    }
    await rebuild.restoreFields(sale.id, epoch, 'stockChanges', fields);
    return allotment;
  }

  /**
   * Reservations beyond the allotment are none that this inventory gave (somebody restored or wrote to it): the newest of them end as rejected.
   * One that cannot even be written as that is dropped: it must not keep the sale closed.
   *
   * @returns how many
   */
  async function rejectSurplus(
    sale: LedgerSale,
    epoch: number,
    left: Map<string, AcceptedOrder>,
    allotment: number,
  ): Promise<number> {
    const surplus: AcceptedOrder[] = [];
    let units = unitsOf(left.values());
    const newestFirst = [...left.values()].sort((a, b) => b.reservedAt - a.reservedAt);
    for (const order of newestFirst) {
      if (sale.sold + units <= allotment) break;
      surplus.push(order);
      units -= order.quantity;
    }
    for (let at = 0; at < surplus.length; at += REBUILD_CHUNK) {
      const chunk = surplus.slice(at, at + REBUILD_CHUNK);
      const outcomes: OrderOutcome[] = await orders.reject(sale.id, chunk, 'NO_ROOM_AFTER_LOSS');
      const written = new Set(outcomes.map((outcome) => outcome.id));
      await rebuild.drop(
        sale.id,
        epoch,
        chunk.map((order) => order.id),
      );
      for (const { id } of chunk) {
        left.delete(id);
        const line = { order_id: id, sale_id: sale.id, reason: 'NO_ROOM_AFTER_LOSS' };
        if (written.has(id)) log.warn(line, 'order rejected');
        else log.error(line, 'a reservation beyond the allotment cannot be written as rejected, and is dropped');
      }
    }
    return surplus.length;
  }

  async function restoreBuyers({ sale, buyers }: InventorySource, epoch: number, kept: AcceptedOrder[]): Promise<void> {
    const reservedBy = new Map<string, number>();
    for (const { buyerId, quantity } of kept) reservedBy.set(buyerId, (reservedBy.get(buyerId) ?? 0) + quantity);
    await buyers(async (chunk) => {
      const fields = chunk.map(({ buyerId, units }) => {
        const both = units + (reservedBy.get(buyerId) ?? 0);
        reservedBy.delete(buyerId);
        return [buyerId, both] as const;
      });
      await rebuild.restoreFields(sale.id, epoch, 'buyers', fields);
    });
    await rebuild.restoreFields(sale.id, epoch, 'buyers', [...reservedBy]);
  }

  async function restoreKeys({ sale, keys }: InventorySource, epoch: number, kept: AcceptedOrder[]): Promise<void> {
    const field = (buyerId: string, key: string): string => `${buyerId} ${key}`;
    const ofKept = new Map(
      kept.flatMap(({ id, buyerId, idempotencyKey, quantity }) =>
        idempotencyKey === null ? [] : [[field(buyerId, idempotencyKey), `${id} ${quantity}`] as const],
      ),
    );
    // A confirmed order's word stands above that of one that is under way, and that above a rejected one's: it was given up for this one.
    await rebuild.restoreFields(sale.id, epoch, 'orderKeys', [...ofKept]);
    await keys(async (chunk) => {
      const fields = chunk.flatMap(({ buyerId, idempotencyKey, id, quantity, confirmed }) => {
        const name = field(buyerId, idempotencyKey);
        return confirmed || !ofKept.has(name) ? [[name, `${id} ${quantity}`] as const] : [];
      });
      await rebuild.restoreFields(sale.id, epoch, 'orderKeys', fields);
    });
  }

  async function watch(sale: LedgerSale): Promise<void> {
    const { condition } = await inventory.check(sale.id, sale.epoch);
    if (condition === 'sound') {
      closedSince.delete(sale.id);
      return;
    }
    const since = closedSince.get(sale.id) ?? performance.now();
    closedSince.set(sale.id, since);
    const done = await rebuildSale(sale.id, performance.now() - since);
    if (done) closedSince.delete(sale.id);
  }

  return {
    /** One turn. One inventory that cannot be made keeps no other from it. @throws the first fault, at the end */
    async runOnce(): Promise<void> {
      const all = lookAtAll || turns % FULL_TURN_EVERY === 0;
      turns += 1;
      lookAtAll = true;
      const faults: unknown[] = [];
      for (const sale of await sales.listToWatch(all)) {
        await watch(sale).catch((fault: unknown) => faults.push(fault));
      }
      lookAtAll = faults.length > 0;
      if (faults.length > 0) throw faults[0];
    },
  };
}

function unitsOf(orders: Iterable<AcceptedOrder>): number {
  let units = 0;
  for (const order of orders) units += order.quantity;
  return units;
}
