/** Commands about orders: how one gets its units, and how it ends. */
import fc from 'fast-check';
import type { AcceptedOrder, RejectionReason } from '../../orders/order.ts';
import type { ReserveDecision } from '../../stock/gate-words.ts';
import type { BuyerBucketSettings } from '../../stock/stock-gate.ts';
import {
  EPOCHS,
  type EpochChoice,
  epochOf,
  type GateCommand,
  gateCommand,
  type ModelWorld,
  pick,
} from './gate-command.ts';
import { type Bucket, keyField } from './gate-model.ts';
import { BUYERS, type Look, ModelMismatch, ORDER_KEYS, TIGHT_BACKLOG, unlessOtherEpoch } from './gate-under-test.ts';
import { reserve } from './reserve-model.ts';

/** A token takes a quarter of an hour, or a nanosecond: within a sequence none comes, or the bucket is always full. */
const BUCKETS: readonly BuyerBucketSettings[] = [
  { capacity: 0, refillRate: 1 },
  { capacity: 1, refillRate: 0.001 },
  { capacity: 3, refillRate: 0.001 },
  { capacity: 2, refillRate: 1e9 },
];

/** Of orders whose reservation nobody here has seen: September 2001, so that they are strands at once. */
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
type Adopted = ReadonlyMap<string, RejectionReason> | 'other_epoch' | 'ended';

const reserveCommand = fc
  .record({
    orders: fc.array(claim, { minLength: 1, maxLength: 5 }),
    permits: fc.oneof({ weight: 3, arbitrary: fc.constant(-1) }, fc.integer({ min: 0, max: 4 })),
    bucket: fc.oneof(
      { weight: 2, arbitrary: fc.constant(BUCKETS[0] as BuyerBucketSettings) },
      fc.constantFrom(...BUCKETS),
    ),
    tight: fc.boolean(),
  })
  .map(
    (drawn): GateCommand =>
      gateCommand({
        name: 'reserve',
        drawn,
        plan: (world) => ({
          ...drawn,
          orders: drawn.orders.map((order, i) => ({
            ...order,
            orderId: world.newOrderId(),
            requestId: `request ${i}`,
          })),
        }),
        act: ({ id, gates }, { orders, permits, bucket, tight }) =>
          gates[tight ? 'tight' : 'generous'].reserve(id, orders, permits, bucket),
        predict(world, { orders, permits, bucket, tight }, look, told) {
          const { nowUs, slackMs } = instantOf(world.gate.buckets, look, told.decisions);
          const backlogLimit = tight ? TIGHT_BACKLOG : Number.POSITIVE_INFINITY;
          const before = new Set(world.gate.reservations.keys());
          const expected = reserve(world.gate, { orders, permits, bucket, backlogLimit }, nowUs);
          for (const [id, order] of world.gate.reservations) if (!before.has(id)) world.accepted.push(order);
          return {
            ...expected,
            decisions: expected.decisions.map((decision, i) =>
              nearWait(decision, told.decisions[i], { slackMs, refillRate: bucket.refillRate }),
            ),
          };
        },
      }),
  );

/** When Redis decided the batch: exactly, where it wrote the instant down; else at some time between the looks. */
function instantOf(
  before: ReadonlyMap<string, Bucket>,
  { buckets, fromUs, toUs }: Look,
  decisions: readonly ReserveDecision[],
): { nowUs: number; slackMs: number } {
  const slackMs = (toUs - fromUs) / 1_000 + 1;
  for (const [buyer, { at }] of buckets) {
    if (at !== before.get(buyer)?.at && at >= fromUs && at <= toUs) return { nowUs: at, slackMs: 1 };
  }
  for (const { outcome } of decisions) {
    if (outcome.word !== 'reserved') continue;
    const { reservedAt } = outcome;
    if (reservedAt < Math.floor(fromUs / 1_000) || reservedAt > toUs / 1_000)
      throw new ModelMismatch(`reserved at ${reservedAt}`);
    return { nowUs: Math.max(fromUs, reservedAt * 1_000), slackMs };
  }
  return { nowUs: toUs, slackMs };
}

/** Times to wait depend on the instant; what is near enough is what was told. */
function nearWait(
  expected: ReserveDecision,
  told: ReserveDecision | undefined,
  { slackMs, refillRate }: { slackMs: number; refillRate: number },
): ReserveDecision {
  if (!told) return expected;
  // Told in thousandths of a token, which are seconds where tokens come slowly.
  const isNear = Math.abs(expected.tokenInMs - told.tokenInMs) <= slackMs + 1 / refillRate;
  const near = isNear ? { ...expected, tokenInMs: told.tokenInMs } : expected;
  if (!('waitMs' in near.outcome && 'waitMs' in told.outcome)) return near;
  if (Math.abs(near.outcome.waitMs - told.outcome.waitMs) > slackMs) return near;
  return { ...near, outcome: { ...near.outcome, waitMs: told.outcome.waitMs } };
}

/** Ids of orders that were accepted, ended or not, some of them twice; and of one that nobody knows. */
function idsOf(world: ModelWorld, drawn: { numbers: readonly number[]; stranger: boolean }): string[] {
  return [
    ...pick(world.accepted, drawn.numbers).map((order) => order.id),
    ...(drawn.stranger ? ['order of nobody'] : []),
  ];
}

/** Now and then the worker dies before it tells the gate what the ledger has written. */
const dies = fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, fc.constant(true));
const ending = fc.record({ numbers, stranger: fc.boolean(), epoch, dies });

/** The ledger confirms what it has no word on yet, and then the gate is told; what it had rejected is not among it. */
const settleCommand = ending.map(
  (drawn): GateCommand =>
    gateCommand({
      name: 'settle',
      drawn,
      plan(world) {
        const { gate, ledger } = world;
        for (const id of idsOf(world, drawn)) {
          const order = gate.open() && gate.reservations.get(id);
          if (order) ledger.confirm(order);
        }
        const ids = idsOf(world, drawn).filter(
          (id) => !(gate.reservations.has(id) && ledger.verdictOf(id) === 'rejected'),
        );
        return { ids: drawn.dies ? [] : ids, epoch: epochOf(world, drawn.epoch) };
      },
      act: ({ id, gates }, plan) => gates.generous.settle(id, plan.epoch, plan.ids),
      predict: ({ gate }, plan) => gate.settle(plan.epoch, plan.ids),
    }),
);

/** The ledger rejects, and then the gate is told. */
const releaseCommand = ending.map(
  (drawn): GateCommand =>
    gateCommand({
      name: 'release',
      drawn,
      plan(world) {
        const { gate, ledger } = world;
        const ids = idsOf(world, drawn).filter(
          (id) => !(gate.reservations.has(id) && ledger.verdictOf(id) === 'confirmed'),
        );
        for (const id of ids) ledger.reject(id);
        return { ids: drawn.dies ? [] : ids, epoch: epochOf(world, drawn.epoch) };
      },
      act: ({ id, gates }, plan) => gates.generous.release(id, plan.epoch, plan.ids),
      predict: ({ gate }, plan) => gate.release(plan.epoch, plan.ids),
    }),
);

interface Adoption {
  readonly numbers: readonly number[];
  readonly strangers: readonly { buyerId: string; quantity: number; idempotencyKey: string | null }[];
  readonly epoch: EpochChoice;
}

/**
 * Orders that were accepted and have no verdict; such that the gate has had since the ledger was asked, whatever became of them: the question
 * comes late; and orders that were accepted by a gate that is gone, with all that knew of them.
 */
export const adoptOrders = (drawn: Adoption): GateCommand =>
  gateCommand({
    name: 'adopt',
    drawn,
    plan(world) {
      const known = pick(world.accepted, drawn.numbers).filter(
        ({ id }) => !world.ledger.verdictOf(id) || world.gate.earlierOrders.has(id),
      );
      const strangers = drawn.strangers.map(
        (order, i): AcceptedOrder => ({
          ...order,
          id: world.newOrderId(),
          requestId: `lost ${i}`,
          reservedAt: LONG_AGO + i,
        }),
      );
      world.accepted.push(...strangers);
      return { orders: [...new Set([...known, ...strangers])], epoch: epochOf(world, drawn.epoch) };
    },
    act: ({ id, gates }, plan): Promise<Adopted> =>
      plan.orders.length === 0
        ? Promise.resolve<Adopted>(new Map())
        : unlessOtherEpoch(gates.generous.adopt({ saleId: id, ...plan })),
    predict: ({ gate }, plan) => (plan.orders.length === 0 ? new Map() : gate.adopt(plan.epoch, plan.orders)),
  });

const adoptCommand = fc.record({ numbers, strangers: fc.array(claim, { maxLength: 3 }), epoch }).map(adoptOrders);

/** The ledger has an order under a key, and Redis had forgotten: from now on the key leads to it. */
const pointKeyCommand = fc
  .record({ number: fc.nat({ max: 30 }), buyerId, idempotencyKey: fc.constantFrom(...ORDER_KEYS), epoch })
  .map(
    (drawn): GateCommand =>
      gateCommand({
        name: 'point-key',
        drawn,
        can: (world) => world.accepted.length > 0,
        plan(world) {
          const [order] = pick(world.accepted, [drawn.number]) as [AcceptedOrder];
          return { order: { id: order.id, quantity: order.quantity }, epoch: epochOf(world, drawn.epoch) };
        },
        act: ({ id, gates }, plan) => gates.generous.pointKey(id, plan.epoch, drawn, plan.order),
        predict: ({ gate }, plan) =>
          gate.pointKey(plan.epoch, keyField(drawn.buyerId, drawn.idempotencyKey), plan.order),
      }),
  );

export const orderCommands = [
  { weight: 12, arbitrary: reserveCommand },
  { weight: 5, arbitrary: settleCommand },
  { weight: 5, arbitrary: releaseCommand },
  { weight: 4, arbitrary: adoptCommand },
  { weight: 2, arbitrary: pointKeyCommand },
];
