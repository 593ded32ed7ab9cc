/**
 * A sale's inventory as the docs promise it, in plain TypeScript: what docs/reference.md and the
 * headers of lua/ say, and nothing of how the scripts do it. inventory-model.test.ts holds the
 * scripts against it, word for word and field for field. Deciding a batch of orders stands in
 * reserve-model.ts. Time is given to each method: the model has no clock.
 */
import type { AcceptedOrder, RejectionReason } from '@flash-sale/core/domain/order.ts';
import type { Sale, StockNumbers } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { InventoryCheck } from '@flash-sale/core/inventory/outcomes.ts';
import { orderKeyField } from '@flash-sale/core/inventory/reservation.ts';

/**
 * A Redis instance: this one; one of another process (restarted, failed over); or of other data in
 * the same process (promoted).
 */
export type Instance = 'present' | 'other_process' | 'other_data';

export interface InventoryFields {
  epoch: number;
  /** The instance in which it was opened; null = it is closed. */
  openIn: Instance | null;
  /** The instance in which it was closed; null once it is open. */
  closedIn: Instance | null;
  /** null if the inventory was closed and never opened. */
  numbers: { -readonly [Name in keyof StockNumbers]: number } | null;
  /** Reservations that it has counted; null if it was never opened. */
  orders: number | null;
  /** ms at which the next pass of the reaper may start; null before the first. */
  nextPass: number | null;
  settings: Pick<Sale, 'startsAt' | 'endsAt' | 'perBuyerLimit' | 'paused' | 'version'> | null;
}

export interface OpenInventory extends InventoryFields {
  numbers: NonNullable<InventoryFields['numbers']>;
  orders: number;
  settings: NonNullable<InventoryFields['settings']>;
}

export interface Bucket {
  tokens: number;
  /** Microseconds since 1970. */
  at: number;
  /** Microseconds since 1970 at which it is full, by the settings with which it was written. */
  fullAt: number;
}

export interface OpeningUnits {
  readonly allotment: number;
  readonly sold: number;
  readonly reserved: number;
  readonly orders: number;
}

export const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

export class InventoryModel {
  /** null = Redis has no such inventory. */
  inventory: InventoryFields | null = null;
  readonly reservations = new Map<string, AcceptedOrder>();
  /** Order id → ms at which the reaper last claimed it. */
  readonly claims = new Map<string, number>();
  readonly redeliveries = new Map<string, number>();
  readonly buyers = new Map<string, number>();
  readonly orderKeys = new Map<string, { readonly id: string; readonly quantity: number }>();
  readonly stockChanges = new Map<string, 'applied' | 'refused'>();
  /** Orders of earlier epochs that were in this inventory. */
  readonly earlierOrders = new Set<string>();
  readonly buckets = new Map<string, Bucket>();

  /** I11: only an inventory that was opened in this Redis instance accepts orders and writes. */
  open(): OpenInventory | null {
    return this.inventory?.openIn === 'present' ? (this.inventory as OpenInventory) : null;
  }

  /** I11: … and only from callers that act for its epoch. */
  openFor(epoch: number): OpenInventory | null {
    const inventory = this.open();
    return inventory?.epoch === epoch ? inventory : null;
  }

  // How an order ends

  /** @returns how many had a reservation */
  commit(epoch: number, orderIds: readonly string[]): number {
    const inventory = this.openFor(epoch);
    if (!inventory) return 0;
    const ending = [...new Set(orderIds)].flatMap((id) => this.reservations.get(id) ?? []);
    for (const { id, quantity } of ending) {
      inventory.numbers.reserved -= quantity;
      inventory.numbers.sold += quantity;
      this.forget(inventory, id);
    }
    return ending.length;
  }

  /** @returns how many had a reservation */
  release(epoch: number, orderIds: readonly string[]): number {
    const inventory = this.openFor(epoch);
    if (!inventory) return 0;
    let released = 0;
    for (const id of orderIds) {
      const order = this.reservations.get(id);
      // What lost reservations left behind stays: that is how the loss is noticed.
      if (!order) continue;
      this.forget(inventory, id);
      released += 1;
      inventory.numbers.reserved -= order.quantity;
      inventory.numbers.available += order.quantity;
      const held = this.buyers.get(order.buyerId);
      if (held !== undefined && held > order.quantity) this.buyers.set(order.buyerId, held - order.quantity);
      else this.buyers.delete(order.buyerId);
    }
    return released;
  }

  private forget(inventory: OpenInventory, orderId: string): void {
    inventory.orders -= 1;
    this.reservations.delete(orderId);
    this.claims.delete(orderId);
    this.redeliveries.delete(orderId);
  }

  /** Gives an order its units. The caller has checked that it may have them. */
  take(inventory: OpenInventory, order: AcceptedOrder): void {
    inventory.numbers.available -= order.quantity;
    inventory.numbers.reserved += order.quantity;
    inventory.orders += 1;
    this.reservations.set(order.id, order);
    if (inventory.settings.perBuyerLimit > 0) {
      this.buyers.set(order.buyerId, (this.buyers.get(order.buyerId) ?? 0) + order.quantity);
    }
    if (order.idempotencyKey !== null) {
      this.orderKeys.set(orderKeyField(order.buyerId, order.idempotencyKey), {
        id: order.id,
        quantity: order.quantity,
      });
    }
  }

  /** Units are gone from a sale with a cap, and no buyer holds any. */
  lostBuyers({ settings, numbers }: OpenInventory): boolean {
    return settings.perBuyerLimit > 0 && this.buyers.size === 0 && numbers.reserved + numbers.sold > 0;
  }

  /** I6: whether the buyer would hold more than the cap. */
  overCap(inventory: OpenInventory, buyerId: string, quantity: number): boolean {
    const { perBuyerLimit } = inventory.settings;
    return perBuyerLimit > 0 && (this.buyers.get(buyerId) ?? 0) + quantity > perBuyerLimit;
  }

  /**
   * @returns why orders are refused, by id; 'ended' if one of them was here and has ended: it is
   * left alone
   */
  readmit(epoch: number, orders: readonly AcceptedOrder[]): Map<string, RejectionReason> | 'other_epoch' | 'ended' {
    const inventory = this.openFor(epoch);
    if (!inventory || this.lostBuyers(inventory)) return 'other_epoch';
    const refused = new Map<string, RejectionReason>();
    let ended = false;
    for (const order of orders) {
      if (this.reservations.has(order.id)) {
        this.earlierOrders.add(order.id);
        continue;
      }
      if (this.earlierOrders.has(order.id)) {
        ended = true;
        continue;
      }
      const { idempotencyKey, buyerId, quantity } = order;
      const ofKey = idempotencyKey === null ? undefined : this.orderKeys.get(orderKeyField(buyerId, idempotencyKey));
      if (ofKey && ofKey.id !== order.id) refused.set(order.id, 'DUPLICATE_REQUEST');
      else if (this.overCap(inventory, buyerId, quantity)) refused.set(order.id, 'OVER_CAP_AFTER_LOSS');
      else if (quantity > inventory.numbers.available) refused.set(order.id, 'NO_ROOM_AFTER_LOSS');
      else {
        this.take(inventory, order);
        this.earlierOrders.add(order.id);
      }
    }
    return ended ? 'ended' : refused;
  }

  pointKey(epoch: number, field: string, order: { id: string; quantity: number }): void {
    if (this.openFor(epoch)) this.orderKeys.set(field, order);
  }

  // The reaper

  countRedeliveries(orderIds: readonly string[]): void {
    for (const id of orderIds)
      if (this.reservations.has(id)) this.redeliveries.set(id, (this.redeliveries.get(id) ?? 0) + 1);
  }

  resetRedeliveries(orderIds: readonly string[]): void {
    for (const id of orderIds) if (this.reservations.has(id) && this.redeliveries.has(id)) this.redeliveries.set(id, 1);
  }

  // Operators

  openSale(sale: Sale): boolean {
    if (this.inventory) return false;
    const numbers = { allotment: sale.allotment, available: sale.allotment, reserved: 0, sold: 0 };
    this.inventory = {
      epoch: sale.epoch,
      openIn: 'present',
      closedIn: null,
      numbers,
      orders: 0,
      nextPass: null,
      settings: settingsOf(sale),
    };
    return true;
  }

  /**
   * @returns false if the inventory is not open. I8: an older version, or the same again, changes
   * nothing.
   */
  configure(sale: Sale): boolean {
    const inventory = this.open();
    if (!inventory) return false;
    if (sale.version > inventory.settings.version) {
      inventory.settings = { ...settingsOf(sale), perBuyerLimit: inventory.settings.perBuyerLimit };
    }
    return true;
  }

  adjust(changeId: string, delta: number): Awaited<ReturnType<Inventory['adjust']>> {
    const inventory = this.open();
    if (!inventory) return { kind: 'recovering' };
    let kind = this.stockChanges.get(changeId);
    if (!kind) {
      kind = inventory.numbers.available + delta < 0 ? 'refused' : 'applied';
      this.stockChanges.set(changeId, kind);
      if (kind === 'applied') {
        inventory.numbers.allotment += delta;
        inventory.numbers.available += delta;
      }
    }
    return { kind, available: inventory.numbers.available, epoch: inventory.epoch };
  }

  read(): { numbers: StockNumbers | null; exists: boolean } {
    const inventory = this.open();
    return { numbers: inventory ? { ...inventory.numbers } : null, exists: this.inventory !== null };
  }

  findReservation(orderId: string): AcceptedOrder | 'recovering' | null {
    return this.reservations.get(orderId) ?? (this.open() ? null : 'recovering');
  }

  /** @param epoch of the ledger */
  check(epoch: number): InventoryCheck {
    return { condition: this.condition(epoch), epoch: this.inventory?.epoch ?? 0 };
  }

  private condition(epoch: number): InventoryCheck['condition'] {
    if (!this.inventory) return 'missing';
    if (this.inventory.openIn === null) return 'closed';
    const inventory = this.open();
    if (!inventory) return 'other_server';
    if (inventory.epoch < epoch) return 'behind';
    if (inventory.epoch > epoch) return 'ahead';
    return inventory.orders === this.reservations.size && !this.lostBuyers(inventory) ? 'sound' : 'inconsistent';
  }

  // Rebuild

  /** Only a higher epoch closes an open inventory. The same epoch may close a closed one again. */
  close(epoch: number): 'done' | 'other_epoch' {
    const present = this.inventory;
    if (present && (epoch < present.epoch || (epoch === present.epoch && present.openIn !== null)))
      return 'other_epoch';
    this.inventory = {
      epoch,
      openIn: null,
      closedIn: 'present',
      numbers: present?.numbers ?? null,
      orders: present?.orders ?? null,
      nextPass: present?.nextPass ?? null,
      settings: present?.settings ?? null,
    };
    for (const made of [this.claims, this.redeliveries, this.buyers, this.orderKeys, this.earlierOrders]) made.clear();
    return 'done';
  }

  /** A step between close and open: only for the rebuilder that closed the inventory last. */
  rebuild(epoch: number, write: () => void): 'done' | 'other_epoch' {
    if (this.inventory?.epoch !== epoch || this.inventory.openIn !== null) return 'other_epoch';
    write();
    return 'done';
  }

  openInventory(sale: Sale, epoch: number, units: OpeningUnits): number | 'other_epoch' {
    const { inventory, reservations } = this;
    if (inventory?.epoch !== epoch || inventory.openIn !== null || inventory.closedIn !== 'present')
      return 'other_epoch';
    const { allotment, sold, reserved, orders } = units;
    if (reservations.size !== orders) return 'other_epoch';
    const available = allotment - sold - reserved;
    const numbers = { allotment, available, reserved, sold };
    this.inventory = {
      epoch,
      openIn: 'present',
      closedIn: null,
      numbers,
      orders,
      nextPass: null,
      settings: settingsOf(sale),
    };
    this.redeliveries.clear();
    return available;
  }
}

function settingsOf(sale: Sale): NonNullable<InventoryFields['settings']> {
  const { startsAt, endsAt, perBuyerLimit, paused, version } = sale;
  return { startsAt, endsAt, perBuyerLimit, paused, version };
}
