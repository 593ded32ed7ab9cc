/** Commands of the reaper and of operators, and of the clock. */

import type { Sale } from '@flash-sale/core/domain/sale.ts';
import fc from 'fast-check';
import {
  command,
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

/** Redis' clock advances, or is set back. */
const passTimeCommand = command(
  'time passes (ms)',
  fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(0, 1, 999, 1_000, 3_333, 100_000, 3_600_000) },
    fc.constantFrom(-1, -2_000, -3_600_000),
  ),
  (ms) => ({
    plan(world) {
      world.nowUs += ms * 1_000 + 1;
      world.setBack ||= ms < 0;
      return world.nowUs;
    },
    act: (real, us) => real.setClock(us),
    predict: () => undefined,
  }),
);

export const changeRedeliveries = (drawn: {
  script: 'count' | 'reset';
  numbers: readonly number[];
}): InventoryCommand => {
  const method = `${drawn.script}Redeliveries` as const;
  return inventoryCommand({
    name: `${drawn.script}-redeliveries`,
    drawn,
    // Those that were counted before come twice.
    plan({ accepted, inventory }) {
      const known = [...accepted.map((order) => order.id), ...inventory.redeliveries.keys()];
      return [...pick(known, drawn.numbers), 'unknown order'];
    },
    act: ({ id, inventories }, ids) => inventories.generous[method](id, ids),
    predict: ({ inventory }, ids) => inventory[method](ids),
  });
};

/** Only an inventory that never existed, as in sync-sale.ts. */
const openSale = inventoryCommand({
  name: 'create-inventory',
  can: ({ inventory, ledger }) => inventory.inventory !== null || ledger.sale.inventoryVersion === 0,
  plan({ ledger }) {
    ledger.sale = { ...ledger.sale, inventoryVersion: ledger.sale.version };
    return ledger.sale;
  },
  act: ({ inventories }, plan) => inventories.generous.create(plan),
  predict: ({ inventory }, plan) => inventory.openSale(plan),
});

/** An operator's change, which may arrive after a later one, or again. */
const configureCommand = command(
  'configure-sale',
  fc.record({ window, paused, version: fc.constantFrom('new', 'new', 'same', 'older') }),
  (drawn) => ({
    plan({ ledger }) {
      const settings = { ...WINDOWS[drawn.window], paused: drawn.paused };
      const { version } = ledger.sale;
      if (drawn.version !== 'new')
        return { ...ledger.sale, ...settings, version: drawn.version === 'same' ? version : version - 1 };
      ledger.sale = { ...ledger.sale, ...settings, version: version + 1 };
      return ledger.sale;
    },
    act: ({ inventories }, plan) => inventories.generous.configure(plan),
    predict: ({ inventory }, plan) => inventory.configure(plan),
  }),
);

/** A change of stock, also repeated, also by a process that dies before it writes to the ledger. */
const adjustCommand = command(
  'adjust-stock',
  fc.record({
    change: fc.constantFrom('c1', 'c2', 'c3', 'c4'),
    delta: fc.integer({ min: -6, max: 4 }),
    dies: fc.boolean(),
  }),
  ({ change, delta, dies }) => ({
    plan: ({ ledger }) => ledger.beginChange(change, delta),
    act: ({ id, inventories }, begun) => inventories.generous.adjust(id, change, begun),
    predict({ inventory, ledger }, begun) {
      const reply = inventory.adjust(change, begun);
      if (reply.kind !== 'recovering' && !dies) ledger.finishChange(change, reply);
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

const readCommand = command('read-numbers', fc.nat({ max: 30 }), (drawn) => ({
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
}));

export const careCommands = [
  {
    weight: 4,
    arbitrary: fc
      .record({ ageMs: fc.constantFrom(-1, 0, 1_000, 3_600_000), pauseMs: fc.constantFrom(0, 0, 500, 3_600_000) })
      .map(claimOrphans),
  },
  { weight: 4, arbitrary: passTimeCommand },
  {
    weight: 4,
    arbitrary: fc
      .record({
        script: fc.constantFrom('count', 'count', 'reset'),
        numbers: fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 4 }),
      })
      .map(changeRedeliveries),
  },
  { weight: 1, arbitrary: fc.constant(openSale) },
  { weight: 3, arbitrary: configureCommand },
  { weight: 4, arbitrary: adjustCommand },
  { weight: 3, arbitrary: fc.constantFrom('present', ...EPOCHS).map(checkInventory) },
  { weight: 1, arbitrary: readCommand },
];
