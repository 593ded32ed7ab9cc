/** Commands of those who look after a sale: the reaper and the operators. */

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
import { ModelMismatch } from './inventory-under-test.ts';
import { claimOrphans as claimInModel, type PassSettings, passAt } from './sweep-model.ts';

/** Ages that are certain: at once, only what is from long ago, nothing. */
const AGES_MS = [-1, 0, 3_600_000, 4e12] as const;

/** Far enough from any clock that tests run by. */
const WINDOWS = {
  on: { startsAt: 1, endsAt: Date.UTC(2200) },
  ahead: { startsAt: Date.UTC(2150), endsAt: Date.UTC(2200) },
  over: { startsAt: 1, endsAt: Date.UTC(2000) },
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
    predict({ inventory }, _plan, { raw, fromUs, toUs }) {
      // Only Redis knows when it was: at one of the milliseconds between the looks, at which all that it wrote would be so.
      const first = Math.floor(fromUs / 1_000);
      const instants = Array.from({ length: Math.floor(toUs / 1_000) - first + 1 }, (_, i) => first + i);
      const isSo = (ms: number): boolean => {
        const pass = passAt(inventory, drawn, ms);
        if (!pass) return true;
        return (
          String(pass.nextPass) === raw.inventory.next_pass &&
          pass.orphans.every(({ id }) => raw.claims[id] === String(ms))
        );
      };
      return claimInModel(inventory, drawn, instants.find(isSo) ?? first);
    },
  });

/** None begins for so long after the one before, or each does. */
const PAUSES_MS = [0, 0, 3_600_000] as const;

const claimCommand = fc
  .record({ ageMs: fc.constantFrom(...AGES_MS), pauseMs: fc.constantFrom(...PAUSES_MS) })
  .map(claimOrphans);

export const changeRedeliveries = (drawn: {
  script: 'count' | 'lower';
  numbers: readonly number[];
}): InventoryCommand =>
  inventoryCommand({
    name: `${drawn.script}-redeliveries`,
    drawn,
    // Those that were counted before are twice among them.
    plan({ accepted, inventory }) {
      const known = [...accepted.map((order) => order.id), ...inventory.redeliveries.keys()];
      return [...pick(known, drawn.numbers), 'order of nobody'];
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

/** An inventory that is gone is not opened so, as sync-sale.ts has it: only one that never was. */
const openSaleCommand = fc.constant(null).map(
  (drawn): InventoryCommand =>
    inventoryCommand({
      name: 'open-sale',
      drawn,
      can: ({ inventory, ledger }) => inventory.inventory !== null || ledger.sale.inventoryVersion === 0,
      plan({ ledger }) {
        ledger.sale = { ...ledger.sale, inventoryVersion: ledger.sale.version };
        return ledger.sale;
      },
      act: ({ inventories }, plan) => inventories.generous.open(plan),
      predict: ({ inventory }, plan) => inventory.openSale(plan),
    }),
);

/** An operator's change: it comes to the inventory, or later than another one, or for the second time. */
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

/** A change of stock; the same again; and one whose process dies before the ledger hears what the inventory decided. */
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
          if (reply.word !== 'recovering' && !drawn.dies) ledger.finishChange(plan.change, reply);
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
      plan: (world) => pick(world.accepted, [drawn])[0]?.id ?? 'order of nobody',
      async act({ id, inventories: { generous } }, orderId) {
        const [{ now, ...sale }, order] = await Promise.all([generous.read(id), generous.findReservation(id, orderId)]);
        return { now, sale, order };
      },
      predict({ inventory }, orderId, { fromUs, toUs }, { now }) {
        if (now < Math.floor(fromUs / 1_000) || now > toUs / 1_000) throw new ModelMismatch(`read at ${now}`);
        return { now, sale: inventory.read(), order: inventory.findReservation(orderId) };
      },
    }),
);

export const careCommands = [
  { weight: 4, arbitrary: claimCommand },
  { weight: 4, arbitrary: enqueueCommand },
  { weight: 1, arbitrary: openSaleCommand },
  { weight: 3, arbitrary: configureCommand },
  { weight: 4, arbitrary: adjustCommand },
  { weight: 3, arbitrary: checkCommand },
  { weight: 1, arbitrary: readCommand },
];
