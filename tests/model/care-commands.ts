/** Commands of the reaper and of operators, and of the clock. */

import type { Sale } from '@flash-sale/core/domain/sale.ts';
import fc from 'fast-check';
import {
  EPOCHS,
  type EpochChoice,
  epochOf,
  type InventoryCommand,
  inventoryCommand,
  pick,
} from './inventory-command.ts';
import { byId } from './inventory-model.ts';
import { claimOrphans as claimInModel, type PassSettings } from './reaper-model.ts';
import { START_US } from './test-clock.ts';

const START_MS = Math.floor(START_US / 1_000);

const WINDOWS = {
  on: { startsAt: 1, endsAt: START_MS + 86_400_000 },
  ahead: { startsAt: START_MS + 1_001, endsAt: START_MS + 86_400_000 },
  over: { startsAt: 1, endsAt: START_MS },
} as const;

const window = fc.oneof(
  { weight: 9, arbitrary: fc.constant('on' as const) },
  fc.constantFrom('ahead' as const, 'over' as const),
);

const paused = fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.constant(true));

/** The sale of a sequence, as it begins. */
export const sale = fc
  .record({
    allotment: fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 6, max: 25 })),
    perBuyerLimit: fc.constantFrom(0, 2, 3),
    window,
    paused,
  })
  .map(
    ({ window: name, ...settings }): Omit<Sale, 'id'> => ({
      name: 'A thing',
      description: null,
      originalPrice: '2',
      flashSalePrice: '1',
      currency: 'USD',
      version: 1,
      inventoryVersion: 0,
      epoch: 1,
      ...settings,
      ...WINDOWS[name],
    }),
  );

export const claimOrphans = (drawn: PassSettings): InventoryCommand =>
  inventoryCommand({
    name: 'claim-orphans',
    drawn,
    plan: () => drawn,
    async act({ id, inventories }) {
      const found = await inventories.generous.claimOrphans(id, drawn, null);
      return { ...found, orphans: found.orphans.sort(byId) };
    },
    predict: ({ inventory, nowMs }) => claimInModel(inventory, drawn, nowMs),
  });

const claimCommand = fc
  .record({ ageMs: fc.constantFrom(-1, 0, 1_000, 3_600_000), pauseMs: fc.constantFrom(0, 0, 500, 3_600_000) })
  .map(claimOrphans);

/** Redis' clock goes on, or is set back. */
const passTime = (ms: number): InventoryCommand =>
  inventoryCommand({
    name: 'time passes (ms)',
    drawn: ms,
    plan(world) {
      world.nowUs += ms * 1_000 + 1;
      world.setBack ||= ms < 0;
      return world.nowUs;
    },
    act: (real, us) => real.setClock(us),
    predict: () => undefined,
  });

const passTimeCommand = fc
  .oneof(
    { weight: 5, arbitrary: fc.constantFrom(0, 1, 999, 1_000, 3_333, 100_000, 3_600_000) },
    fc.constantFrom(-1, -2_000, -3_600_000),
  )
  .map(passTime);

export const changeRedeliveries = (drawn: {
  script: 'count' | 'lower';
  numbers: readonly number[];
}): InventoryCommand =>
  inventoryCommand({
    name: `${drawn.script}-redeliveries`,
    drawn,
    // Those that were counted before come twice.
    plan({ accepted, inventory }) {
      const known = [...accepted.map((order) => order.id), ...inventory.redeliveries.keys()];
      return [...pick(known, drawn.numbers), 'unknown order'];
    },
    act: ({ id, inventories: { generous } }, ids) =>
      drawn.script === 'count' ? generous.countRedeliveries(id, ids) : generous.lowerRedeliveries(id, ids),
    predict: ({ inventory }, ids) =>
      drawn.script === 'count' ? inventory.countRedeliveries(ids) : inventory.lowerRedeliveries(ids),
  });

const enqueueCommand = fc
  .record({
    script: fc.constantFrom('count', 'count', 'lower'),
    numbers: fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 4 }),
  })
  .map(changeRedeliveries);

/** Only an inventory that never existed, as in sync-sale.ts. */
const openSaleCommand = fc.constant(null).map(
  (): InventoryCommand =>
    inventoryCommand({
      name: 'create-inventory',
      can: ({ inventory, ledger }) => inventory.inventory !== null || ledger.sale.inventoryVersion === 0,
      plan({ ledger }) {
        ledger.sale = { ...ledger.sale, inventoryVersion: ledger.sale.version };
        return ledger.sale;
      },
      act: ({ inventories }, plan) => inventories.generous.create(plan),
      predict: ({ inventory }, plan) => inventory.openSale(plan),
    }),
);

/** An operator's change, which may come later than another one or for the second time. */
const configureCommand = fc.record({ window, paused, version: fc.constantFrom('new', 'new', 'same', 'older') }).map(
  (drawn): InventoryCommand =>
    inventoryCommand({
      name: 'configure-sale',
      drawn,
      plan({ ledger }) {
        const settings = { ...WINDOWS[drawn.window], paused: drawn.paused };
        const { version } = ledger.sale;
        if (drawn.version !== 'new') {
          return { ...ledger.sale, ...settings, version: drawn.version === 'same' ? version : version - 1 };
        }
        ledger.sale = { ...ledger.sale, ...settings, version: version + 1 };
        return ledger.sale;
      },
      act: ({ inventories }, plan) => inventories.generous.configure(plan),
      predict: ({ inventory }, plan) => inventory.configure(plan),
    }),
);

/**
 * A change of stock, also repeated, also by a process that dies before it writes the decision to
 * the ledger.
 */
const adjustCommand = fc
  .record({
    change: fc.constantFrom('c1', 'c2', 'c3', 'c4'),
    delta: fc.integer({ min: -6, max: 4 }),
    dies: fc.boolean(),
  })
  .map(
    (drawn): InventoryCommand =>
      inventoryCommand({
        name: 'adjust-stock',
        drawn,
        plan: ({ ledger }) => ({ change: drawn.change, delta: ledger.beginChange(drawn.change, drawn.delta) }),
        act: ({ id, inventories }, plan) => inventories.generous.adjust(id, plan.change, plan.delta),
        predict({ inventory, ledger }, plan) {
          const reply = inventory.adjust(plan.change, plan.delta);
          if (reply.kind !== 'recovering' && !drawn.dies) ledger.finishChange(plan.change, reply);
          return reply;
        },
      }),
  );

export const checkInventory = (drawn: EpochChoice): InventoryCommand =>
  inventoryCommand({
    name: 'check-inventory',
    drawn,
    plan: (world) => epochOf(world, drawn),
    act: ({ id, inventories }, epoch) => inventories.generous.check(id, epoch),
    predict: ({ inventory }, epoch) => inventory.check(epoch),
  });

const checkCommand = fc.constantFrom('present', ...EPOCHS).map(checkInventory);

const readCommand = fc.nat({ max: 30 }).map(
  (drawn): InventoryCommand =>
    inventoryCommand({
      name: 'read-sale',
      drawn,
      plan: (world) => pick(world.accepted, [drawn])[0]?.id ?? 'unknown order',
      async act({ id, inventories: { generous } }, orderId) {
        const [{ now, ...sale }, order] = await Promise.all([generous.read(id), generous.findReservation(id, orderId)]);
        return { now, sale, order };
      },
      predict: ({ inventory, nowMs }, orderId) => ({
        now: nowMs,
        sale: inventory.read(),
        order: inventory.findReservation(orderId),
      }),
    }),
);

export const careCommands = [
  { weight: 4, arbitrary: claimCommand },
  { weight: 4, arbitrary: passTimeCommand },
  { weight: 4, arbitrary: enqueueCommand },
  { weight: 1, arbitrary: openSaleCommand },
  { weight: 3, arbitrary: configureCommand },
  { weight: 4, arbitrary: adjustCommand },
  { weight: 3, arbitrary: checkCommand },
  { weight: 1, arbitrary: readCommand },
];
