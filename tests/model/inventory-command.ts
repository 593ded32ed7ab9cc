/**
 * A command runs against Redis and the model; then the replies are compared, and all that Redis has
 * of the sale. The invariants are also checked in Redis alone.
 */
import { inspect } from 'node:util';
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type fc from 'fast-check';
import { InventoryModel } from './inventory-model.ts';
import type { SaleUnderTest, Snapshot } from './inventory-under-test.ts';
import { LedgerModel } from './ledger-model.ts';
import type { Rebuilder } from './rebuild-steps.ts';
import { expectSame, ModelMismatch, START_US } from './test-clock.ts';

/** The model's side of a sequence. */
export class ModelWorld {
  readonly inventory = new InventoryModel();
  readonly ledger: LedgerModel;
  /** Microseconds since 1970: Redis' clock. */
  nowUs = START_US;
  /** Every order that was ever accepted, ended or not, in the order it came. */
  readonly accepted: AcceptedOrder[] = [];
  readonly rebuilders: Rebuilder[] = [];
  /** Ids that were given to orders. */
  orders = 0;
  /** True from when Redis lost a part of the sale until its inventory was rebuilt. */
  torn = false;
  /** True once the clock was set back: buckets may then be deleted before they are full. */
  setBack = false;

  constructor(sale: Sale) {
    this.ledger = new LedgerModel(sale);
  }

  get nowMs(): number {
    return Math.floor(this.nowUs / 1_000);
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

export type InventoryCommand = fc.AsyncCommand<ModelWorld, SaleUnderTest>;

/** The epoch that a caller acts for. */
export const EPOCHS = ['present', 'older', 'newer'] as const;
export type EpochChoice = (typeof EPOCHS)[number];

/** The epochs of the ledger start at 1. */
export function epochOf(world: ModelWorld, choice: EpochChoice): number {
  return Math.max(1, world.epoch + { present: 0, older: -1, newer: 1 }[choice]);
}

/** Items by numbers of any size. */
export function pick<Item>(items: readonly Item[], numbers: readonly number[]): Item[] {
  return items.length === 0 ? [] : numbers.map((number) => items[number % items.length] as Item);
}

export interface CommandParts<Plan, Reply> {
  readonly name: string;
  /** As generated, for the counterexample. */
  readonly drawn?: unknown;
  can?(world: ModelWorld): boolean;
  /** What exactly is done in this world, for both sides. */
  plan(world: ModelWorld): Plan;
  act(real: SaleUnderTest, plan: Plan): Promise<Reply>;
  /** @returns what Redis must have replied */
  predict(world: ModelWorld, plan: Plan): Reply | Promise<Reply>;
}

export function inventoryCommand<Plan, Reply>(parts: CommandParts<Plan, Reply>): InventoryCommand {
  const said = `${parts.name} ${inspect(parts.drawn ?? '', { depth: 6, breakLength: Number.POSITIVE_INFINITY })}`;
  return {
    check: (world) => parts.can?.(world) ?? true,
    toString: () => said,
    async run(world, real) {
      const plan = parts.plan(world);
      const told = await parts.act(real, plan);
      const expected = await parts.predict(world, plan);
      const what = (found: string): string => `${parts.name}: ${found} ${inspect(plan, { depth: 4 })}`;
      expectSame(() => what('the reply to'), told, expected);
      await expectSameState(() => what('the state after'), world, real);
    },
  };
}

/** A command with what is drawn for it. */
export const command = <Drawn, Plan, Reply>(
  name: string,
  arbitrary: fc.Arbitrary<Drawn>,
  parts: (drawn: Drawn) => Omit<CommandParts<Plan, Reply>, 'name' | 'drawn'>,
): fc.Arbitrary<InventoryCommand> => arbitrary.map((drawn) => inventoryCommand({ name, drawn, ...parts(drawn) }));

export async function expectSameState(what: () => string, world: ModelWorld, real: SaleUnderTest): Promise<void> {
  const found = await real.read();
  expectSame(what, found.raw, real.expected(world.inventory));
  expectSameBuckets(what, world, found.buckets);
  expectInvariants(what, world, found);
}

function expectSameBuckets(what: () => string, world: ModelWorld, found: Snapshot['buckets']): void {
  const { buckets } = world.inventory;
  // A deleted bucket is a full one.
  for (const [buyerId, { fullAt }] of buckets) {
    if (!found.has(buyerId) && (world.setBack || fullAt <= world.nowUs)) buckets.delete(buyerId);
  }
  expectSame(() => `${what()}: the buyers that have buckets`, [...found.keys()].sort(), [...buckets.keys()].sort());
  for (const [buyerId, bucket] of buckets) {
    const { tokens, at } = found.get(buyerId) ?? { tokens: 0, at: 0 };
    // Redis has six decimals; the model continues with those.
    if (Math.abs(bucket.tokens - tokens) > 1e-6 || bucket.at !== at)
      expectSame(() => `${what()}: the bucket of ${buyerId}`, { tokens, at }, bucket);
    bucket.tokens = tokens;
  }
}

/** Checked in Redis, not in the model: this finds a mistake that script and model share. */
function expectInvariants(what: () => string, world: ModelWorld, { raw }: Snapshot): void {
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
    if (Number(raw.inventory.orders) !== ids.length) fail('"the counted orders are its reservations"');
    if (Object.keys(raw.claims).some((id) => !ids.includes(id))) fail('"a claim ends with its order"');
    if (Object.keys(raw.redeliveries).some((id) => !ids.includes(id)))
      fail('"a count of redeliveries ends with its order"');
  }
  const cap = Number(raw.inventory.per_buyer_limit);
  if (cap > 0 && Object.values(raw.buyers).some((units) => Number(units) > cap)) fail("I6 buyer's cap");
}
