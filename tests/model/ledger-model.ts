/**
 * What the ledger would know of the sale of a sequence, as far as a rebuild needs it. It makes the
 * inventory's callers keep what the scripts rely on: an order has one outcome for ever, and no more
 * is confirmed than was allotted.
 */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { orderKeyField } from '@flash-sale/core/inventory/reservation.ts';
import type { OpeningUnits } from './inventory-model.ts';

interface StockChange {
  readonly delta: number;
  state: 'pending' | 'applied' | 'refused';
}

/** What a rebuilder writes into the closed inventory. */
export interface Restoration {
  /** Reservations beyond the allotment. */
  readonly surplus: readonly string[];
  readonly kept: readonly AcceptedOrder[];
  readonly stockChanges: readonly (readonly [string, 'applied' | 'refused'])[];
  readonly buyers: readonly (readonly [string, number])[];
  readonly orderKeys: readonly (readonly [string, { readonly id: string; readonly quantity: number }])[];
  readonly units: OpeningUnits;
}

export class LedgerModel {
  sale: Sale;
  readonly changes = new Map<string, StockChange>();
  private readonly confirmed: AcceptedOrder[] = [];
  private readonly rejected = new Set<string>();

  constructor(sale: Sale) {
    this.sale = sale;
  }

  outcomeOf(orderId: string): 'confirmed' | 'rejected' | null {
    if (this.rejected.has(orderId)) return 'rejected';
    return this.confirmed.some((order) => order.id === orderId) ? 'confirmed' : null;
  }

  get sold(): number {
    return unitsOf(this.confirmed);
  }

  confirm(order: AcceptedOrder): void {
    if (this.outcomeOf(order.id)) return;
    if (this.sold + order.quantity > this.sale.allotment) this.rejected.add(order.id);
    else this.confirmed.push(order);
  }

  reject(orderId: string): void {
    if (!this.outcomeOf(orderId)) this.rejected.add(orderId);
  }

  raiseEpoch(): number {
    this.sale = { ...this.sale, epoch: this.sale.epoch + 1 };
    return this.sale.epoch;
  }

  /**
   * Added units are in the allotment at once, withdrawn ones leave it at the end.
   *
   * @returns the change's delta
   */
  beginChange(changeId: string, delta: number): number {
    const begun = this.changes.get(changeId);
    if (begun) return begun.delta;
    this.changes.set(changeId, { delta, state: 'pending' });
    if (delta > 0) this.allot(delta);
    return delta;
  }

  /** @param epoch of the inventory that decided; an outdated one does not count */
  finishChange(changeId: string, { kind, epoch }: { kind: 'applied' | 'refused'; epoch: number }): void {
    const change = this.changes.get(changeId);
    if (this.sale.epoch > epoch) return;
    if (change?.state !== 'pending') return;
    change.state = kind;
    if (kind === 'applied' && change.delta < 0) this.allot(change.delta);
  }

  private allot(delta: number): void {
    this.sale = { ...this.sale, allotment: this.sale.allotment + delta };
  }

  /**
   * As apps/worker/src/recovery/rebuild-inventory.ts does it, which tests/worker tests.
   *
   * @param left reservations of orders without an outcome
   * @param decided changes that the inventory still knows
   */
  restoration(left: readonly AcceptedOrder[], decided: ReadonlyMap<string, string>): Restoration {
    let { allotment } = this.sale;
    const stockChanges: [string, 'applied' | 'refused'][] = [];
    for (const [id, { delta, state }] of this.changes) {
      if (state !== 'pending') stockChanges.push([id, state]);
      else if (delta > 0) stockChanges.push([id, 'applied']);
      else if (decided.get(id) === 'applied') allotment += delta;
    }
    const { sold } = this;
    const kept = [...left].sort((a, b) => a.reservedAt - b.reservedAt || (a.id < b.id ? -1 : 1));
    const surplus: string[] = [];
    while (sold + unitsOf(kept) > allotment && kept.length > 0) surplus.push((kept.pop() as AcceptedOrder).id);
    const buyers = new Map<string, number>();
    const orderKeys = new Map<string, { id: string; quantity: number }>();
    for (const { id, buyerId, quantity, idempotencyKey } of [...kept, ...this.confirmed]) {
      buyers.set(buyerId, (buyers.get(buyerId) ?? 0) + quantity);
      if (idempotencyKey !== null) orderKeys.set(orderKeyField(buyerId, idempotencyKey), { id, quantity });
    }
    return {
      surplus,
      kept,
      stockChanges,
      buyers: this.sale.perBuyerLimit > 0 ? [...buyers] : [],
      orderKeys: [...orderKeys],
      units: { allotment, sold, reserved: unitsOf(kept), orders: kept.length },
    };
  }
}

function unitsOf(orders: readonly AcceptedOrder[]): number {
  return orders.reduce((sum, order) => sum + order.quantity, 0);
}
