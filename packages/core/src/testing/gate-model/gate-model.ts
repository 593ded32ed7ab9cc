/**
 * A sale's gate as the docs promise it, in plain TypeScript: what docs/invariants.md, docs/redis-keys.md and the headers of lua/ say, and
 * nothing of how the scripts do it. gate-model.test.ts holds the scripts against it, word for word and field for field.
 * Deciding a batch of orders stands in reserve-model.ts. Time is given to each method: the model has no clock.
 */
import type { AcceptedOrder, RejectionReason } from '../../orders/order.ts';
import type { Sale, StockNumbers } from '../../sales/sale.ts';
import type { GateCheck } from '../../stock/gate-words.ts';
import type { StockGate } from '../../stock/stock-gate.ts';

/** A life of Redis: the one that goes on; one of another process (restarted, failed over); or of other data in the same process (promoted). */
export type Life = 'present' | 'other_process' | 'other_data';

export interface GateFields {
  epoch: number;
  /** In which life of Redis it was opened; null = it is closed. */
  openIn: Life | null;
  /** In which life it was closed; null once it is open. */
  closedIn: Life | null;
  /** null where the gate was closed and never opened. */
  numbers: { -readonly [Name in keyof StockNumbers]: number } | null;
  /** Reservations that it has counted; null where it was never opened. */
  orders: number | null;
  /** ms at which the next pass of the sweep may begin; null before the first. */
  nextPass: number | null;
  settings: Pick<Sale, 'startsAt' | 'endsAt' | 'perBuyerLimit' | 'paused' | 'version'> | null;
}

export interface OpenGate extends GateFields {
  numbers: NonNullable<GateFields['numbers']>;
  orders: number;
  settings: NonNullable<GateFields['settings']>;
}

export interface Bucket {
  tokens: number;
  /** Microseconds since 1970. */
  at: number;
}

export interface OpeningUnits {
  readonly allotment: number;
  readonly sold: number;
  readonly reserved: number;
  readonly orders: number;
}

export const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

/** A buyer's key as the gate knows it: the buyer's id holds no space. */
export const keyField = (buyerId: string, idempotencyKey: string): string => `${buyerId} ${idempotencyKey}`;

export class GateModel {
  /** null = Redis has no such gate. */
  gate: GateFields | null = null;
  readonly reservations = new Map<string, AcceptedOrder>();
  /** Order id → ms at which the sweep last took it into its hands. */
  readonly claims = new Map<string, number>();
  readonly handOvers = new Map<string, number>();
  readonly buyers = new Map<string, number>();
  readonly orderKeys = new Map<string, { readonly id: string; readonly quantity: number }>();
  readonly stockChanges = new Map<string, 'applied' | 'refused'>();
  /** Orders of earlier epochs that this gate has, or has had. */
  readonly earlierOrders = new Set<string>();
  readonly buckets = new Map<string, Bucket>();

  /** I11: only a gate that was opened in this life of Redis admits and takes writes. */
  open(): OpenGate | null {
    return this.gate?.openIn === 'present' ? (this.gate as OpenGate) : null;
  }

  /** I11: … and only from whoever speaks for its epoch. */
  openFor(epoch: number): OpenGate | null {
    const gate = this.open();
    return gate?.epoch === epoch ? gate : null;
  }

  // How an order ends

  /** @returns how many had a reservation */
  settle(epoch: number, orderIds: readonly string[]): number {
    const gate = this.openFor(epoch);
    if (!gate) return 0;
    const ending = [...new Set(orderIds)].flatMap((id) => this.reservations.get(id) ?? []);
    for (const { id, quantity } of ending) {
      gate.numbers.reserved -= quantity;
      gate.numbers.sold += quantity;
      this.forget(gate, id);
    }
    return ending.length;
  }

  /** @returns how many had a reservation */
  release(epoch: number, orderIds: readonly string[]): number {
    const gate = this.openFor(epoch);
    if (!gate) return 0;
    let released = 0;
    for (const id of orderIds) {
      const order = this.reservations.get(id);
      // What a lost hash of reservations left behind stays: it is how the loss is noticed.
      if (!order) continue;
      this.forget(gate, id);
      released += 1;
      gate.numbers.reserved -= order.quantity;
      gate.numbers.available += order.quantity;
      const held = this.buyers.get(order.buyerId);
      if (held !== undefined && held > order.quantity) this.buyers.set(order.buyerId, held - order.quantity);
      else this.buyers.delete(order.buyerId);
    }
    return released;
  }

  private forget(gate: OpenGate, orderId: string): void {
    gate.orders -= 1;
    this.reservations.delete(orderId);
    this.claims.delete(orderId);
    this.handOvers.delete(orderId);
  }

  /** Writes an order that gets its units; whoever calls has made sure that it may have them. */
  take(gate: OpenGate, order: AcceptedOrder): void {
    gate.numbers.available -= order.quantity;
    gate.numbers.reserved += order.quantity;
    gate.orders += 1;
    this.reservations.set(order.id, order);
    if (gate.settings.perBuyerLimit > 0) {
      this.buyers.set(order.buyerId, (this.buyers.get(order.buyerId) ?? 0) + order.quantity);
    }
    if (order.idempotencyKey !== null) {
      this.orderKeys.set(keyField(order.buyerId, order.idempotencyKey), { id: order.id, quantity: order.quantity });
    }
  }

  /** I6: units that he would hold beyond the cap. */
  overCap(gate: OpenGate, buyerId: string, quantity: number): boolean {
    const { perBuyerLimit } = gate.settings;
    return perBuyerLimit > 0 && (this.buyers.get(buyerId) ?? 0) + quantity > perBuyerLimit;
  }

  /** @returns why orders are refused, by id; 'ended' where one of them was here and is no more: that one is left alone */
  adopt(epoch: number, orders: readonly AcceptedOrder[]): Map<string, RejectionReason> | 'other_epoch' | 'ended' {
    const gate = this.openFor(epoch);
    if (!gate) return 'other_epoch';
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
      const ofKey = idempotencyKey === null ? undefined : this.orderKeys.get(keyField(buyerId, idempotencyKey));
      if (ofKey && ofKey.id !== order.id) refused.set(order.id, 'DUPLICATE_REQUEST');
      else if (this.overCap(gate, buyerId, quantity)) refused.set(order.id, 'OVER_CAP_AFTER_LOSS');
      else if (quantity > gate.numbers.available) refused.set(order.id, 'NO_ROOM_AFTER_LOSS');
      else {
        this.take(gate, order);
        this.earlierOrders.add(order.id);
      }
    }
    return ended ? 'ended' : refused;
  }

  pointKey(epoch: number, field: string, order: { id: string; quantity: number }): void {
    if (this.openFor(epoch)) this.orderKeys.set(field, order);
  }

  // The sweep

  countHandOvers(orderIds: readonly string[]): void {
    for (const id of orderIds) if (this.reservations.has(id)) this.handOvers.set(id, (this.handOvers.get(id) ?? 0) + 1);
  }

  lowerHandOvers(orderIds: readonly string[]): void {
    for (const id of orderIds) if (this.reservations.has(id) && this.handOvers.has(id)) this.handOvers.set(id, 1);
  }

  // Operators

  openSale(sale: Sale): boolean {
    if (this.gate) return false;
    const numbers = { allotment: sale.allotment, available: sale.allotment, reserved: 0, sold: 0 };
    this.gate = {
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

  /** @returns false where it did not reach the gate. I8: an older version, or the same again, changes nothing. */
  configure(sale: Sale): boolean {
    const gate = this.open();
    if (!gate) return false;
    if (sale.version > gate.settings.version) {
      gate.settings = { ...settingsOf(sale), perBuyerLimit: gate.settings.perBuyerLimit };
    }
    return true;
  }

  adjust(changeId: string, delta: number): Awaited<ReturnType<StockGate['adjust']>> {
    const gate = this.open();
    if (!gate) return { word: 'recovering' };
    let word = this.stockChanges.get(changeId);
    if (!word) {
      word = gate.numbers.available + delta < 0 ? 'refused' : 'applied';
      this.stockChanges.set(changeId, word);
      if (word === 'applied') {
        gate.numbers.allotment += delta;
        gate.numbers.available += delta;
      }
    }
    return { word, available: gate.numbers.available, epoch: gate.epoch };
  }

  read(): { numbers: StockNumbers | null; exists: boolean } {
    const gate = this.open();
    return { numbers: gate ? { ...gate.numbers } : null, exists: this.gate !== null };
  }

  findReservation(orderId: string): AcceptedOrder | 'recovering' | null {
    return this.reservations.get(orderId) ?? (this.open() ? null : 'recovering');
  }

  /** @param epoch of the ledger */
  check(epoch: number): GateCheck {
    return { condition: this.condition(epoch), epoch: this.gate?.epoch ?? 0 };
  }

  private condition(epoch: number): GateCheck['condition'] {
    if (!this.gate) return 'missing';
    if (this.gate.openIn === null) return 'closed';
    const gate = this.open();
    if (!gate) return 'other_server';
    if (gate.epoch < epoch) return 'behind';
    if (gate.epoch > epoch) return 'ahead';
    return gate.orders === this.reservations.size ? 'sound' : 'inconsistent';
  }

  // Making the gate anew

  /** An open gate is closed by a higher epoch only; one that is closed, also by the same rebuilder again. */
  close(epoch: number): 'done' | 'other_epoch' {
    const present = this.gate;
    if (present && (epoch < present.epoch || (epoch === present.epoch && present.openIn !== null)))
      return 'other_epoch';
    this.gate = {
      epoch,
      openIn: null,
      closedIn: 'present',
      numbers: present?.numbers ?? null,
      orders: present?.orders ?? null,
      nextPass: present?.nextPass ?? null,
      settings: present?.settings ?? null,
    };
    for (const made of [this.claims, this.handOvers, this.buyers, this.orderKeys, this.earlierOrders]) made.clear();
    return 'done';
  }

  /** A step between closing and opening: only the rebuilder that closed the gate last may take it. */
  rebuild(epoch: number, write: () => void): 'done' | 'other_epoch' {
    if (this.gate?.epoch !== epoch || this.gate.openIn !== null) return 'other_epoch';
    write();
    return 'done';
  }

  openGate(sale: Sale, epoch: number, units: OpeningUnits): number | 'other_epoch' {
    const { gate, reservations } = this;
    if (gate?.epoch !== epoch || gate.openIn !== null || gate.closedIn !== 'present') return 'other_epoch';
    const { allotment, sold, reserved, orders } = units;
    if (reservations.size !== orders) return 'other_epoch';
    const available = allotment - sold - reserved;
    const numbers = { allotment, available, reserved, sold };
    this.gate = {
      epoch,
      openIn: 'present',
      closedIn: null,
      numbers,
      orders,
      nextPass: null,
      settings: settingsOf(sale),
    };
    this.handOvers.clear();
    return available;
  }
}

function settingsOf({ startsAt, endsAt, perBuyerLimit, paused, version }: Sale): NonNullable<GateFields['settings']> {
  return { startsAt, endsAt, perBuyerLimit, paused, version };
}
