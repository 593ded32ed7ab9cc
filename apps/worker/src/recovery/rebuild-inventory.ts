/**
 * Rebuilds an inventory that can no longer be trusted: Redis was restarted, failed over, restored
 * or emptied, or the inventory's records contradict each other. By then ordering has stopped by
 * itself; the rebuild resumes it.
 *   1. Take the lease, so that no other worker rebuilds the same inventory, and check again, also
 *      that Redis belongs to this ledger.
 *   2. The ledger raises the sale's epoch above the inventory's. From here on it confirms no order
 *      of an older epoch before the inventory is open.
 *   3. Close the inventory in the new epoch. From here on only this rebuild writes to it.
 *   4. Drop the reservations that the ledger has decided, and keep the others.
 *   5. Restore stock changes, units per buyer and idempotency keys from the ledger and those
 *      reservations.
 *   6. Open the inventory with the ledger's numbers.
 * If the worker dies, the rebuild is repeated in a higher epoch. If it is paused, it is fenced off.
 * The inventory of a sale that the ledger does not have is closed, and its orders are rejected:
 * somebody deleted the sale, or the ledger was restored from a backup before it.
 */
import { randomUUID } from 'node:crypto';
import { REBUILD_CHUNK } from '@flash-sale/core/config/limits.ts';
import type { AcceptedOrder, RejectionReason } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { InventoryRebuild } from '@flash-sale/core/inventory/inventory-rebuild.ts';
import { orderKeyField, orderKeyValue } from '@flash-sale/core/inventory/reservation.ts';
import type { EpochStore, InventorySource } from '@flash-sale/core/ledger/epoch-store.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ConfirmDependencies, reportOutcomes } from '../orders/confirm-orders.ts';
import type { UnknownSaleDependencies } from '../orders/reject-orders.ts';

/** Milliseconds; renewed while the rebuild runs. A crash delays the next rebuild by this long. */
const REBUILD_LEASE_MS = 5_000;

export interface RebuildDependencies extends Pick<ConfirmDependencies, 'log' | 'count'> {
  readonly inventory: Pick<Inventory, 'check'>;
  readonly rebuild: InventoryRebuild;
  readonly epochs: EpochStore;
  readonly orders: Pick<OrderStore, 'outcomesOf' | 'reject'>;
  readonly sales: Pick<SaleStore, 'find' | 'unknownAmong'>;
  readonly proveLedger: UnknownSaleDependencies['proveLedger'];
  readonly leaseMs?: number;
}

/**
 * @param closedMs milliseconds since the inventory was first seen closed
 * @returns false if another worker rebuilds it
 * @throws InventoryRecoveringError if a newer rebuild has fenced this one off
 */
export async function rebuildInventory(
  dependencies: RebuildDependencies,
  saleId: string,
  closedMs: number,
): Promise<boolean> {
  const { rebuild, leaseMs = REBUILD_LEASE_MS } = dependencies;
  const token = randomUUID();
  if (!(await rebuild.takeLease(saleId, token, leaseMs))) return false;
  // One ledger statement may take longer than the lease. A paused worker does not renew it.
  const renewing = setInterval(() => void rebuild.renewLease(saleId, leaseMs).catch(() => {}), leaseMs / 3);
  try {
    await rebuildUnderLease(dependencies, saleId, closedMs);
    return true;
  } finally {
    clearInterval(renewing);
    await rebuild.returnLease(saleId, token).catch(() => {});
  }
}

async function rebuildUnderLease(dependencies: RebuildDependencies, saleId: string, closedMs: number): Promise<void> {
  const { inventory, rebuild, epochs, sales, proveLedger, log } = dependencies;
  const ledgerId = await proveLedger();
  const sale = await sales.find(saleId);
  if (sale === null) return stopUnknownSale(dependencies, saleId, ledgerId);
  // Another worker may have rebuilt it before we took the lease.
  const { condition, epoch: inventoryEpoch } = await inventory.check(saleId, sale.epoch);
  if (condition === 'sound') return;
  const epoch = await epochs.begin(saleId, { reason: condition, inventoryEpoch, closedMs });
  if (epoch === null) return;
  log.warn({ sale_id: saleId, epoch, reason: condition }, 'the inventory is closed and is being rebuilt');
  await rebuild.close(saleId, epoch);
  const pending = await dropDecidedReservations(dependencies, saleId, epoch);
  const result = await epochs.read(saleId, (source) => restoreInventory(dependencies, source, epoch, pending));
  if (result === null) return;
  await epochs.finish(saleId, epoch, result);
  log.warn({ sale_id: saleId, epoch, reason: condition, ...result }, 'the inventory is open again');
}

async function stopUnknownSale(dependencies: RebuildDependencies, saleId: string, ledgerId: string): Promise<void> {
  const { inventory, rebuild, sales, log } = dependencies;
  const { condition, epoch } = await inventory.check(saleId, 0);
  if (condition === 'missing' || (await sales.unknownAmong([saleId], ledgerId)).length === 0) return;
  const ownEpoch = condition === 'closed' ? epoch : epoch + 1;
  if (condition !== 'closed') log.error({ sale_id: saleId }, 'the ledger does not know this sale: it is stopped');
  await rebuild.close(saleId, ownEpoch);
  rebuild.invalidate(saleId);
  for await (const { orders } of rebuild.reservations(saleId))
    await rejectAndDrop(dependencies, saleId, ownEpoch, orders, 'LEDGER_UNKNOWN_SALE');
}

/** @returns the reservations that the ledger has not decided, by order id */
async function dropDecidedReservations(
  { rebuild, orders, log }: RebuildDependencies,
  saleId: string,
  epoch: number,
): Promise<Map<string, AcceptedOrder>> {
  const pending = new Map<string, AcceptedOrder>();
  for await (const { orders: found, unreadable } of rebuild.reservations(saleId)) {
    for (const id of unreadable)
      log.error(
        { order_id: id, sale_id: saleId },
        'a reservation cannot be read and is dropped; find its order with: npm run recover:orders',
      );
    const outcomes = await orders.outcomesOf(found.map((order) => order.id));
    const dropped = new Set([...unreadable, ...outcomes.map((outcome) => outcome.id)]);
    for (const order of found) if (!dropped.has(order.id)) pending.set(order.id, order);
    if (dropped.size > 0) await rebuild.drop(saleId, epoch, [...dropped]);
  }
  return pending;
}

async function restoreInventory(
  dependencies: RebuildDependencies,
  source: InventorySource,
  epoch: number,
  pending: Map<string, AcceptedOrder>,
): Promise<{ reserved: number; sold: number; lost: number; version: number }> {
  const { rebuild } = dependencies;
  const { sale } = source;
  const allotment = await restoreStockChanges(dependencies, source, epoch);
  const surplus = takeSurplus(pending, allotment - sale.sold);
  await rejectAndDrop(dependencies, sale.id, epoch, surplus, 'NO_ROOM_AFTER_LOSS');
  const kept = [...pending.values()];
  const reserved = unitsOf(kept);
  await rebuild.remember(
    sale.id,
    epoch,
    kept.map((order) => order.id),
  );
  if (sale.perBuyerLimit > 0) await restoreBuyers(dependencies, source, epoch, kept);
  await restoreKeys(dependencies, source, epoch, kept);
  await rebuild.open(sale, epoch, { allotment, sold: sale.sold, reserved, orders: kept.length });
  return { reserved, sold: sale.sold, lost: surplus.length, version: sale.version };
}

/**
 * A stock change that was decided must not be decided again. A pending one that adds units is
 * already in the ledger's allotment, so it counts as applied. A pending one that withdraws units
 * has not changed the ledger yet: it counts only if the inventory's record says that it was
 * applied. A change that only Redis has is discarded, so that it can be applied again.
 *
 * @returns the inventory's allotment
 */
async function restoreStockChanges(
  { rebuild }: RebuildDependencies,
  { sale, changes }: InventorySource,
  epoch: number,
): Promise<number> {
  const known = await rebuild.decidedChanges(sale.id);
  const inLedger = new Set(changes.map((change) => change.id));
  await rebuild.forgetChanges(
    sale.id,
    epoch,
    [...known.keys()].filter((id) => !inLedger.has(id)),
  );
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
 * Reservations beyond the allotment were not made by this inventory: it was restored from an older
 * copy or changed by hand.
 *
 * @param pending the newest are removed from it until the others fit into `units`
 * @returns the removed orders
 */
function takeSurplus(pending: Map<string, AcceptedOrder>, units: number): AcceptedOrder[] {
  const surplus: AcceptedOrder[] = [];
  let left = unitsOf(pending.values());
  const newestFirst = [...pending.values()].sort((a, b) => b.reservedAt - a.reservedAt);
  for (const order of newestFirst) {
    if (left <= units) break;
    surplus.push(order);
    pending.delete(order.id);
    left -= order.quantity;
  }
  return surplus;
}

/** An order that cannot even be stored as rejected is dropped, so that the sale can open. */
async function rejectAndDrop(
  { rebuild, orders, log, count }: RebuildDependencies,
  saleId: string,
  epoch: number,
  rejected: readonly AcceptedOrder[],
  reason: RejectionReason,
): Promise<void> {
  for (let at = 0; at < rejected.length; at += REBUILD_CHUNK) {
    const chunk = rejected.slice(at, at + REBUILD_CHUNK);
    const outcomes = await orders.reject(saleId, chunk, reason);
    reportOutcomes({ log, count }, { saleId, epoch, orders: chunk }, outcomes);
    const decided = new Set(outcomes.map((outcome) => outcome.id));
    for (const { id } of chunk)
      if (!decided.has(id))
        log.error(
          { order_id: id, sale_id: saleId, reason },
          'an order cannot be stored as rejected, and its reservation is dropped',
        );
    await rebuild.drop(
      saleId,
      epoch,
      chunk.map((order) => order.id),
    );
  }
}

/** Units that each buyer holds, in confirmed and in pending orders. */
async function restoreBuyers(
  { rebuild }: RebuildDependencies,
  { sale, buyers }: InventorySource,
  epoch: number,
  pending: readonly AcceptedOrder[],
): Promise<void> {
  const reserved = new Map<string, number>();
  for (const { buyerId, quantity } of pending) reserved.set(buyerId, (reserved.get(buyerId) ?? 0) + quantity);
  let nobody = reserved.size === 0;
  for await (const chunk of buyers()) {
    nobody &&= chunk.length === 0;
    const fields = chunk.map(({ buyerId, units }) => [buyerId, units + (reserved.get(buyerId) ?? 0)] as const);
    for (const [buyerId] of fields) reserved.delete(buyerId);
    await rebuild.restoreFields(sale.id, epoch, 'buyers', fields);
  }
  // Somebody deleted the orders. No buyer has this id; without it the buyers would count as lost.
  if (nobody && sale.sold > 0) reserved.set(' ', 0);
  await rebuild.restoreFields(sale.id, epoch, 'buyers', [...reserved]);
}

/** The order of each idempotency key: the confirmed one, else the pending, else the rejected. */
async function restoreKeys(
  { rebuild }: RebuildDependencies,
  { sale, keys }: InventorySource,
  epoch: number,
  pending: readonly AcceptedOrder[],
): Promise<void> {
  const ofPending = new Map<string, string>();
  for (const { id, buyerId, idempotencyKey, quantity } of pending)
    if (idempotencyKey !== null) ofPending.set(orderKeyField(buyerId, idempotencyKey), orderKeyValue({ id, quantity }));
  await rebuild.restoreFields(sale.id, epoch, 'orderKeys', [...ofPending]);
  for await (const chunk of keys()) {
    const fields = chunk.flatMap(({ buyerId, idempotencyKey, confirmed, ...order }) => {
      const field = orderKeyField(buyerId, idempotencyKey);
      return confirmed || !ofPending.has(field) ? [[field, orderKeyValue(order)] as const] : [];
    });
    await rebuild.restoreFields(sale.id, epoch, 'orderKeys', fields);
  }
}

function unitsOf(orders: Iterable<AcceptedOrder>): number {
  let units = 0;
  for (const order of orders) units += order.quantity;
  return units;
}
