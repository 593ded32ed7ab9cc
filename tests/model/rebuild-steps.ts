/**
 * The steps of a rebuild, in Redis and in the model, also by a rebuilder that another one has
 * overtaken.
 */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { ModelWorld } from './inventory-command.ts';
import { byId } from './inventory-model.ts';
import { type SaleUnderTest, unlessOtherEpoch } from './inventory-under-test.ts';
import type { LedgerModel, Restoration } from './ledger-model.ts';

export const STEPS = ['close', 'sift', 'restore', 'open'] as const;
type Step = (typeof STEPS)[number];

/** A worker that rebuilds the inventory. */
export interface Rebuilder {
  readonly epoch: number;
  next: number;
  /** Reservations of orders without an outcome, once they were sifted. */
  left: readonly AcceptedOrder[];
  /** What it restored, if it has. */
  restoration: Restoration | null;
}

/** Result of a step: one word for each call that it made, or the units of an opened inventory. */
export interface StepReply {
  readonly words: readonly unknown[];
  readonly left: readonly AcceptedOrder[];
  readonly restoration: Restoration | null;
}

export interface StepPlan {
  readonly step: Step;
  readonly rebuilder: Rebuilder;
  readonly ledger: LedgerModel;
}

/** A refused step does not keep the rebuilder from its next one: each must be refused by itself. */
export async function takeStep(real: SaleUnderTest, { step, rebuilder, ledger }: StepPlan): Promise<StepReply> {
  const { rebuild, id } = real;
  const { epoch } = rebuilder;
  let { left, restoration } = rebuilder;
  const words: unknown[] = [];
  const call = async (work: Promise<unknown>): Promise<void> => {
    words.push((await unlessOtherEpoch(work)) ?? 'done');
  };
  if (step === 'close') await call(rebuild.close(id, epoch));
  else if (step === 'sift') {
    const found: AcceptedOrder[] = [];
    for await (const { orders, unreadable } of rebuild.reservations(id)) {
      found.push(...orders);
      words.push(...unreadable);
    }
    left = found.filter((order) => !ledger.outcomeOf(order.id)).sort(byId);
    const ended = found.filter((order) => ledger.outcomeOf(order.id)).map((order) => order.id);
    if (ended.length > 0) await call(rebuild.drop(id, epoch, ended));
  } else if (step === 'restore') {
    restoration = ledger.restoration(left, await rebuild.decidedChanges(id));
    const { surplus, kept, stockChanges, buyers, orderKeys } = restoration;
    const keyFields = orderKeys.map(([field, order]) => [field, `${order.id} ${order.quantity}`] as const);
    if (stockChanges.length > 0) await call(rebuild.restoreFields(id, epoch, 'stockChanges', stockChanges));
    if (surplus.length > 0) await call(rebuild.drop(id, epoch, surplus));
    if (kept.length > 0) {
      const ids = kept.map((order) => order.id);
      await call(rebuild.remember(id, epoch, ids));
    }
    if (buyers.length > 0) await call(rebuild.restoreFields(id, epoch, 'buyers', buyers));
    if (keyFields.length > 0) await call(rebuild.restoreFields(id, epoch, 'orderKeys', keyFields));
  } else if (restoration) await call(rebuild.open(ledger.sale, epoch, restoration.units));
  return { words, left, restoration };
}

/** The same step in the model, from which the rebuilder continues. */
export function predictStep(world: ModelWorld, { step, rebuilder }: StepPlan): StepReply {
  const { inventory, ledger } = world;
  const { epoch } = rebuilder;
  const words: unknown[] = [];
  const write = (deed: () => void): void => {
    words.push(inventory.rebuild(epoch, deed));
  };
  if (step === 'close') words.push(inventory.close(epoch));
  else if (step === 'sift') {
    const found = [...inventory.reservations.values()];
    rebuilder.left = found.filter((order) => !ledger.outcomeOf(order.id)).sort(byId);
    const ended = found.filter((order) => ledger.outcomeOf(order.id));
    if (ended.length > 0)
      write(() =>
        drop(
          inventory,
          ended.map(({ id }) => id),
        ),
      );
  } else if (step === 'restore') {
    rebuilder.restoration = ledger.restoration(rebuilder.left, inventory.stockChanges);
    const { surplus, kept, stockChanges, buyers, orderKeys } = rebuilder.restoration;
    if (stockChanges.length > 0) write(() => setAll(inventory.stockChanges, stockChanges));
    if (surplus.length > 0) {
      write(() => drop(inventory, surplus));
    }
    if (kept.length > 0)
      write(() => {
        for (const { id } of kept) inventory.earlierOrders.add(id);
      });
    if (buyers.length > 0) write(() => setAll(inventory.buyers, buyers));
    if (orderKeys.length > 0) write(() => setAll(inventory.orderKeys, orderKeys));
    for (const id of surplus) ledger.reject(id);
  } else if (rebuilder.restoration) {
    const opened = inventory.openInventory(ledger.sale, epoch, rebuilder.restoration.units);
    words.push(opened);
    if (opened !== 'other_epoch') world.torn = false;
  }
  rebuilder.next = STEPS.indexOf(step) + 1;
  return { words, left: rebuilder.left, restoration: rebuilder.restoration };
}

function drop(inventory: ModelWorld['inventory'], orderIds: readonly string[]): void {
  for (const id of orderIds) inventory.reservations.delete(id);
}

function setAll<Value>(map: Map<string, Value>, entries: readonly (readonly [string, Value])[]): void {
  for (const [field, value] of entries) map.set(field, value);
}
