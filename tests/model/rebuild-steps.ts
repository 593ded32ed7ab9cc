/** The steps of a rebuild, in Redis and in the model, also by a rebuilder that was overtaken. */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import { orderKeyValue } from '@flash-sale/core/inventory/reservation.ts';
import type { ModelWorld } from './inventory-command.ts';
import { byId, type OpeningUnits } from './inventory-model.ts';
import { type SaleUnderTest, unlessOtherEpoch } from './inventory-under-test.ts';
import type { LedgerModel, Restoration } from './ledger-model.ts';
import { ModelMismatch } from './test-clock.ts';

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
export interface StepReply extends Pick<Rebuilder, 'left' | 'restoration'> {
  readonly words: readonly unknown[];
}

export interface StepPlan {
  readonly step: Step;
  readonly rebuilder: Rebuilder;
  readonly ledger: LedgerModel;
}

/** What a rebuilder calls. Writes return a word, or nothing if they succeed. */
interface RebuildCalls {
  reservations(): Promise<AcceptedOrder[]>;
  decidedChanges(): Promise<ReadonlyMap<string, string>>;
  close(): Promise<unknown>;
  drop(ids: readonly string[]): Promise<unknown>;
  remember(ids: readonly string[]): Promise<unknown>;
  restore<Part extends 'stockChanges' | 'buyers' | 'orderKeys'>(
    part: Part,
    entries: Restoration[Part],
  ): Promise<unknown>;
  open(units: OpeningUnits): Promise<unknown>;
}

function inRedis({ rebuild, id }: SaleUnderTest, { ledger, rebuilder: { epoch } }: StepPlan): RebuildCalls {
  return {
    async reservations() {
      const found: AcceptedOrder[] = [];
      for await (const { orders, unreadable } of rebuild.reservations(id)) {
        if (unreadable.length > 0) throw new ModelMismatch(`unreadable reservations: ${unreadable}`);
        found.push(...orders);
      }
      return found;
    },
    decidedChanges: () => rebuild.decidedChanges(id),
    close: () => rebuild.close(id, epoch),
    drop: (ids) => rebuild.drop(id, epoch, ids),
    remember: (ids) => rebuild.remember(id, epoch, ids),
    restore(part, entries) {
      const fields = entries.map(
        ([field, value]) => [field, typeof value === 'object' ? orderKeyValue(value) : value] as const,
      );
      return rebuild.restoreFields(id, epoch, part, fields);
    },
    open: (units) => rebuild.open(ledger.sale, epoch, units),
  };
}

function inModel({ inventory }: ModelWorld, { ledger, rebuilder: { epoch } }: StepPlan): RebuildCalls {
  const write = async (deed: () => void) => inventory.rebuild(epoch, deed);
  return {
    reservations: async () => [...inventory.reservations.values()],
    decidedChanges: async () => inventory.stockChanges,
    close: async () => inventory.close(epoch),
    drop: (ids) =>
      write(() => {
        for (const id of ids) inventory.reservations.delete(id);
      }),
    remember: (ids) =>
      write(() => {
        for (const id of ids) inventory.earlierOrders.add(id);
      }),
    restore: (part, entries) =>
      write(() => {
        const fields = inventory[part] as Map<string, unknown>;
        for (const [field, value] of entries) fields.set(field, value);
      }),
    open: async (units) => inventory.openInventory(ledger.sale, epoch, units),
  };
}

/** A refused call does not keep the rebuilder from its next one: each must be refused by itself. */
async function step(calls: RebuildCalls, { step, rebuilder, ledger }: StepPlan): Promise<StepReply> {
  let { left, restoration } = rebuilder;
  const words: unknown[] = [];
  const call = async (work: Promise<unknown>): Promise<void> => {
    words.push((await unlessOtherEpoch(work)) ?? 'done');
  };
  const idsOf = (orders: readonly AcceptedOrder[]): string[] => orders.map(({ id }) => id);
  if (step === 'close') await call(calls.close());
  else if (step === 'sift') {
    const found = await calls.reservations();
    left = found.filter((order) => !ledger.outcomeOf(order.id)).sort(byId);
    const ended = found.filter((order) => ledger.outcomeOf(order.id));
    if (ended.length > 0) await call(calls.drop(idsOf(ended)));
  } else if (step === 'restore') {
    restoration = ledger.restoration(left, await calls.decidedChanges());
    const { surplus, kept, stockChanges, buyers, orderKeys } = restoration;
    if (stockChanges.length > 0) await call(calls.restore('stockChanges', stockChanges));
    if (surplus.length > 0) await call(calls.drop(surplus));
    if (kept.length > 0) await call(calls.remember(idsOf(kept)));
    if (buyers.length > 0) await call(calls.restore('buyers', buyers));
    if (orderKeys.length > 0) await call(calls.restore('orderKeys', orderKeys));
  } else if (restoration) await call(calls.open(restoration.units));
  return { words, left, restoration };
}

export const takeStep = (real: SaleUnderTest, plan: StepPlan): Promise<StepReply> => step(inRedis(real, plan), plan);

/** The same step in the model, from which the rebuilder continues. */
export async function predictStep(world: ModelWorld, plan: StepPlan): Promise<StepReply> {
  const reply = await step(inModel(world, plan), plan);
  const { words, left, restoration } = reply;
  Object.assign(plan.rebuilder, { left, restoration, next: STEPS.indexOf(plan.step) + 1 });
  if (plan.step === 'restore') for (const id of restoration?.surplus ?? []) world.ledger.reject(id);
  if (plan.step === 'open' && typeof words[0] === 'number') world.torn = false;
  return reply;
}
