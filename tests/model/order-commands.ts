/** Commands about orders: how one gets its units, and how it ends. */

import type { AcceptedOrder, RejectionReason } from '@flash-sale/core/domain/order.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/inventory/inventory.ts';
import { orderKeyField } from '@flash-sale/core/inventory/reservation.ts';
import fc from 'fast-check';
import {
  command,
  EPOCHS,
  type EpochChoice,
  epochOf,
  type InventoryCommand,
  inventoryCommand,
  type ModelWorld,
  pick,
} from './inventory-command.ts';
import { BUYERS, ORDER_KEYS, TIGHT_BACKLOG, unlessOtherEpoch } from './inventory-under-test.ts';
import { reserve } from './reserve-model.ts';

/** Processes may have different settings. */
const BUCKETS: readonly BuyerBucketSettings[] = [
  { capacity: 0, refillRate: 1 },
  { capacity: 1, refillRate: 0.01 },
  { capacity: 3, refillRate: 0.3 },
  { capacity: 2, refillRate: 1_000 },
];

/** Reserved long before the sequence starts. */
const LONG_AGO = 1_000_000_000_000;

const quantity = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 2 }) },
  { weight: 1, arbitrary: fc.integer({ min: 3, max: 5 }) },
);
const buyerId = fc.constantFrom(...BUYERS);
const idempotencyKey = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  { weight: 2, arbitrary: fc.constantFrom(...ORDER_KEYS) },
);
const epoch = fc.oneof({ weight: 3, arbitrary: fc.constant('present' as const) }, fc.constantFrom(...EPOCHS));
const numbers = fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 4 });
const claim = fc.record({ buyerId, quantity, idempotencyKey });

/** Why orders are refused, by id. */
type Readmitted = ReadonlyMap<string, RejectionReason> | 'other_epoch' | 'ended';

const reserveCommand = command(
  'reserve',
  fc.record({
    orders: fc.array(claim, { minLength: 1, maxLength: 5 }),
    permits: fc.oneof({ weight: 3, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 4 })),
    bucket: fc.oneof(
      { weight: 2, arbitrary: fc.constant(BUCKETS[0] as BuyerBucketSettings) },
      fc.constantFrom(...BUCKETS),
    ),
    tight: fc.boolean(),
  }),
  ({ orders, permits, bucket, tight }) => ({
    plan: (world) => orders.map((order, i) => ({ ...order, id: world.newOrderId(), requestId: `request ${i}` })),
    act: ({ id, inventories }, requests) =>
      inventories[tight ? 'tight' : 'generous'].reserve(id, requests, permits, bucket),
    predict(world, requests) {
      const backlogLimit = tight ? TIGHT_BACKLOG : Number.POSITIVE_INFINITY;
      const before = new Set(world.inventory.reservations.keys());
      const expected = reserve(world.inventory, { orders: requests, permits, bucket, backlogLimit }, world.nowUs);
      for (const [id, order] of world.inventory.reservations) if (!before.has(id)) world.accepted.push(order);
      return expected;
    },
  }),
);

/** Ids of accepted orders, ended or not, some of them twice, and of an unknown one. */
function idsOf(world: ModelWorld, drawn: { numbers: readonly number[]; stranger: boolean }): string[] {
  const known = pick(world.accepted, drawn.numbers).map((order) => order.id);
  return [...known, ...(drawn.stranger ? ['unknown order'] : [])];
}

/** Now and then the worker dies before it calls the inventory. */
const dies = fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.constant(true));
const ending = fc.record({ numbers, stranger: fc.boolean(), epoch, dies });

/** The ledger decides orders without an outcome; then the worker applies the outcomes. */
const endCommand = (name: 'commit' | 'release', other: 'confirmed' | 'rejected') =>
  command(name, ending, (drawn) => ({
    plan(world) {
      const { inventory, ledger } = world;
      if (name === 'commit')
        for (const id of idsOf(world, drawn)) {
          const order = inventory.open() && inventory.reservations.get(id);
          if (order) ledger.confirm(order);
        }
      const ids = idsOf(world, drawn).filter((id) => !inventory.reservations.has(id) || ledger.outcomeOf(id) !== other);
      if (name === 'release') for (const id of ids) ledger.reject(id);
      return { ids: drawn.dies ? [] : ids, epoch: epochOf(world, drawn.epoch) };
    },
    act: ({ id, inventories }, plan) => inventories.generous[name](id, plan.epoch, plan.ids),
    predict: ({ inventory }, plan) => inventory[name](plan.epoch, plan.ids),
  }));

interface Readmission {
  readonly numbers: readonly number[];
  readonly strangers: readonly { buyerId: string; quantity: number; idempotencyKey: string | null }[];
  readonly epoch: EpochChoice;
}

/**
 * Accepted orders without an outcome; orders that the inventory has had since the ledger was read,
 * as a late call has them; and strangers, which a lost inventory accepted.
 */
export const readmitOrders = (drawn: Readmission): InventoryCommand =>
  inventoryCommand({
    name: 'readmit',
    drawn,
    plan(world) {
      const known = pick(world.accepted, drawn.numbers).filter(
        ({ id }) => !world.ledger.outcomeOf(id) || world.inventory.earlierOrders.has(id),
      );
      const strangers = drawn.strangers.map((order, i): AcceptedOrder => {
        const id = world.newOrderId();
        return { ...order, id, requestId: `lost ${i}`, reservedAt: LONG_AGO + i };
      });
      world.accepted.push(...strangers);
      return { orders: [...new Set([...known, ...strangers])], epoch: epochOf(world, drawn.epoch) };
    },
    act: ({ id, inventories }, plan): Promise<Readmitted> =>
      plan.orders.length === 0
        ? Promise.resolve<Readmitted>(new Map())
        : unlessOtherEpoch(inventories.generous.readmit({ saleId: id, ...plan })),
    predict: ({ inventory }, plan) =>
      plan.orders.length === 0 ? new Map() : inventory.readmit(plan.epoch, plan.orders),
  });

/** The ledger has an order under a key that Redis lost. */
const pointKeyCommand = command(
  'point-key',
  fc.record({ number: fc.nat({ max: 30 }), buyerId, idempotencyKey: fc.constantFrom(...ORDER_KEYS), epoch }),
  (drawn) => ({
    can: (world) => world.accepted.length > 0,
    plan(world) {
      const [order] = pick(world.accepted, [drawn.number]) as [AcceptedOrder];
      return { order: { id: order.id, quantity: order.quantity }, epoch: epochOf(world, drawn.epoch) };
    },
    act: ({ id, inventories }, plan) => inventories.generous.pointKey(id, plan.epoch, drawn, plan.order),
    predict: ({ inventory }, plan) =>
      inventory.pointKey(plan.epoch, orderKeyField(drawn.buyerId, drawn.idempotencyKey), plan.order),
  }),
);

export const orderCommands = [
  { weight: 12, arbitrary: reserveCommand },
  { weight: 5, arbitrary: endCommand('commit', 'rejected') },
  { weight: 5, arbitrary: endCommand('release', 'confirmed') },
  {
    weight: 4,
    arbitrary: fc.record({ numbers, strangers: fc.array(claim, { maxLength: 3 }), epoch }).map(readmitOrders),
  },
  { weight: 2, arbitrary: pointKeyCommand },
];
