/**
 * What all commands of a sequence have in common: carried out against Redis and against the model, then the replies are compared, and after
 * them everything that Redis has of the sale. Beyond the model, what must hold at every instant is asked of Redis itself.
 */
import { inspect } from 'node:util';
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type { AsyncCommand } from 'fast-check';
import { InventoryModel } from './inventory-model.ts';
import { expectSame, type Look, ModelMismatch, type SaleUnderTest } from './inventory-under-test.ts';
import { LedgerModel } from './ledger-model.ts';
import type { Rebuilder } from './rebuild-steps.ts';

/** The model's side of a sequence. */
export class ModelWorld {
  readonly inventory = new InventoryModel();
  readonly ledger: LedgerModel;
  /** Every order that was ever accepted, ended or not, in the order it came. */
  readonly accepted: AcceptedOrder[] = [];
  readonly rebuilders: Rebuilder[] = [];
  /** Orders that were thought of. */
  orders = 0;
  /** True from when Redis lost a part of the sale until its inventory was rebuilt. */
  torn = false;
  /** True from when Redis lost what buyers hold: then they may have more than the cap. */
  forgetful = false;

  constructor(sale: Sale) {
    this.ledger = new LedgerModel(sale);
  }

  newOrderId(): string {
    this.orders += 1;
    return `order${this.orders}`;
  }

  /** Epoch that the inventory has, or would have. */
  get epoch(): number {
    return this.inventory.inventory?.epoch ?? this.ledger.sale.epoch;
  }
}

export type InventoryCommand = AsyncCommand<ModelWorld, SaleUnderTest>;

/** Whom a caller speaks for. */
export const EPOCHS = ['present', 'older', 'newer'] as const;
export type EpochChoice = (typeof EPOCHS)[number];

/** The epochs of the ledger begin at 1. */
export function epochOf(world: ModelWorld, choice: EpochChoice): number {
  return Math.max(1, world.epoch + { present: 0, older: -1, newer: 1 }[choice]);
}

/** Orders by numbers of any size; every order is among those that they may mean. */
export function pick<Item>(items: readonly Item[], numbers: readonly number[]): Item[] {
  return items.length === 0 ? [] : numbers.map((number) => items[number % items.length] as Item);
}

export interface CommandParts<Plan, Reply> {
  readonly name: string;
  /** As it was generated, for the counterexample. */
  readonly drawn: unknown;
  can?(world: ModelWorld): boolean;
  /** What exactly is to be done in this world: both sides are given it. */
  plan(world: ModelWorld): Plan;
  act(real: SaleUnderTest, plan: Plan): Promise<Reply>;
  /** @param told what Redis replied: only instants are taken from it */
  predict(world: ModelWorld, plan: Plan, look: Look, told: Reply): Reply;
}

export function inventoryCommand<Plan, Reply>(parts: CommandParts<Plan, Reply>): InventoryCommand {
  const said = `${parts.name} ${inspect(parts.drawn, { depth: 6, breakLength: Number.POSITIVE_INFINITY })}`;
  return {
    check: (world) => parts.can?.(world) ?? true,
    toString: () => said,
    async run(world, real) {
      const plan = parts.plan(world);
      const told = await parts.act(real, plan);
      const look = await real.look();
      const expected = parts.predict(world, plan, look, told);
      const what = (found: string): string => `${parts.name}: ${found} ${inspect(plan, { depth: 4 })}`;
      expectSame(() => what('the reply to'), told, expected);
      expectSameState(() => what('the state after'), world, real, look);
    },
  };
}

export function expectSameState(what: () => string, world: ModelWorld, real: SaleUnderTest, look: Look): void {
  expectSame(what, look.raw, real.expected(world.inventory));
  expectSame(
    () => `${what()}: the buyers that have buckets`,
    [...look.buckets.keys()].sort(),
    [...world.inventory.buckets.keys()].sort(),
  );
  for (const [buyerId, bucket] of look.buckets) {
    const model = world.inventory.buckets.get(buyerId);
    // It is written with six digits; from here on the model goes on with what was written.
    const near = model && Math.abs(model.tokens - bucket.tokens) < 2e-6 && model.at === bucket.at;
    if (!near) expectSame(() => `${what()}: the bucket of ${buyerId}`, bucket, model);
    world.inventory.buckets.set(buyerId, bucket);
  }
  expectInvariants(what, world, look);
}

/** Asked of Redis, not of the model: a mistake that script and model share is found all the same. */
function expectInvariants(what: () => string, world: ModelWorld, { raw }: Look): void {
  const fail = (invariant: string): never => {
    throw new ModelMismatch(`${what()}: ${invariant} does not hold\n  in Redis: ${inspect(raw, { breakLength: 140 })}`);
  };
  const [allotment, available, reserved, sold] = ['allotment', 'available', 'reserved', 'sold'].map((name) =>
    Number(raw.inventory[name]),
  ) as [number, number, number, number];
  if (raw.inventory.allotment === undefined) return;
  if (allotment !== available + reserved + sold) fail('I1 conservation');
  if (available < 0) fail('I2 never oversold');
  const ids = Object.keys(raw.reservations);
  if (raw.inventory.instance_id !== '' && !world.torn) {
    const units = ids.map((id) => Number(raw.reservations[id]?.split('|')[0])).reduce((sum, each) => sum + each, 0);
    if (units !== reserved) fail('"reserved units are those of the reservations"');
    if (Number(raw.inventory.orders) !== ids.length) fail('"the orders that it has counted are its reservations"');
    if (Object.keys(raw.claims).some((id) => !ids.includes(id))) fail('"a claim ends with its order"');
    if (Object.keys(raw.redeliveries).some((id) => !ids.includes(id)))
      fail('"a count of redeliveries ends with its order"');
  }
  const cap = Number(raw.inventory.per_buyer_limit);
  if (cap > 0 && !world.forgetful && Object.values(raw.buyers).some((units) => Number(units) > cap))
    fail("I6 buyer's cap");
}
