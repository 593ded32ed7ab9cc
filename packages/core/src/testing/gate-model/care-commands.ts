/** Commands of those who look after a sale: the sweep and the operators. */
import fc from 'fast-check';
import type { Sale } from '../../sales/sale.ts';
import { EPOCHS, type EpochChoice, epochOf, type GateCommand, gateCommand, pick } from './gate-command.ts';
import { byId } from './gate-model.ts';
import { ModelMismatch } from './gate-under-test.ts';
import { claimStrands as claimInModel, type PassSettings, passAt } from './sweep-model.ts';

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
      gateVersion: 0,
      epoch: 1,
      ...settings,
      ...WINDOWS[name],
    }),
  );

export const claimStrands = (drawn: PassSettings): GateCommand =>
  gateCommand({
    name: 'claim-strands',
    drawn,
    plan: () => drawn,
    async act({ id, gates }) {
      const found = await gates.generous.claimStrands(id, drawn, null);
      return { ...found, strands: found.strands.sort(byId) };
    },
    predict({ gate }, _plan, { raw, fromUs, toUs }) {
      // Only Redis knows when it was: at one of the milliseconds between the looks, at which all that it wrote would be so.
      const first = Math.floor(fromUs / 1_000);
      const instants = Array.from({ length: Math.floor(toUs / 1_000) - first + 1 }, (_, i) => first + i);
      const isSo = (ms: number): boolean => {
        const pass = passAt(gate, drawn, ms);
        if (!pass) return true;
        return (
          String(pass.nextPass) === raw.gate.next_pass && pass.strands.every(({ id }) => raw.claims[id] === String(ms))
        );
      };
      return claimInModel(gate, drawn, instants.find(isSo) ?? first);
    },
  });

/** None begins for so long after the one before, or each does. */
const PAUSES_MS = [0, 0, 3_600_000] as const;

const claimCommand = fc
  .record({ ageMs: fc.constantFrom(...AGES_MS), pauseMs: fc.constantFrom(...PAUSES_MS) })
  .map(claimStrands);

export const changeHandOvers = (drawn: { script: 'count' | 'lower'; numbers: readonly number[] }): GateCommand =>
  gateCommand({
    name: `${drawn.script}-hand-overs`,
    drawn,
    // Those that were counted before are twice among them.
    plan({ accepted, gate }) {
      const known = [...accepted.map((order) => order.id), ...gate.handOvers.keys()];
      return [...pick(known, drawn.numbers), 'order of nobody'];
    },
    act: ({ id, gates: { generous } }, ids) =>
      drawn.script === 'count' ? generous.countHandOvers(id, ids) : generous.lowerHandOvers(id, ids),
    predict: ({ gate }, ids) => (drawn.script === 'count' ? gate.countHandOvers(ids) : gate.lowerHandOvers(ids)),
  });

const handOverCommand = fc
  .record({
    script: fc.constantFrom('count', 'count', 'lower'),
    numbers: fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 4 }),
  })
  .map(changeHandOvers);

/** A gate that is gone is not opened so, as carry-to-gate.ts has it: only one that never was. */
const openSaleCommand = fc.constant(null).map(
  (drawn): GateCommand =>
    gateCommand({
      name: 'open-sale',
      drawn,
      can: ({ gate, ledger }) => gate.gate !== null || ledger.sale.gateVersion === 0,
      plan({ ledger }) {
        ledger.sale = { ...ledger.sale, gateVersion: ledger.sale.version };
        return ledger.sale;
      },
      act: ({ gates }, plan) => gates.generous.open(plan),
      predict: ({ gate }, plan) => gate.openSale(plan),
    }),
);

/** An operator's change: it comes to the gate, or later than another one, or for the second time. */
const configureCommand = fc.record({ window, paused, version: fc.constantFrom('new', 'new', 'same', 'older') }).map(
  (drawn): GateCommand =>
    gateCommand({
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
      act: ({ gates }, plan) => gates.generous.configure(plan),
      predict: ({ gate }, plan) => gate.configure(plan),
    }),
);

/** A change of stock; the same again; and one whose process dies before the ledger hears what the gate decided. */
const adjustCommand = fc
  .record({
    change: fc.constantFrom('c1', 'c2', 'c3', 'c4'),
    delta: fc.integer({ min: -6, max: 4 }),
    dies: fc.boolean(),
  })
  .map(
    (drawn): GateCommand =>
      gateCommand({
        name: 'adjust-stock',
        drawn,
        plan: ({ ledger }) => ({ change: drawn.change, delta: ledger.beginChange(drawn.change, drawn.delta) }),
        act: ({ id, gates }, plan) => gates.generous.adjust(id, plan.change, plan.delta),
        predict({ gate, ledger }, plan) {
          const reply = gate.adjust(plan.change, plan.delta);
          if (reply.word !== 'recovering' && !drawn.dies) ledger.finishChange(plan.change, reply);
          return reply;
        },
      }),
  );

export const checkGate = (drawn: EpochChoice): GateCommand =>
  gateCommand({
    name: 'check-gate',
    drawn,
    plan: (world) => epochOf(world, drawn),
    act: ({ id, gates }, epoch) => gates.generous.check(id, epoch),
    predict: ({ gate }, epoch) => gate.check(epoch),
  });

const checkCommand = fc.constantFrom('present', ...EPOCHS).map(checkGate);

const readCommand = fc.nat({ max: 30 }).map(
  (drawn): GateCommand =>
    gateCommand({
      name: 'read-sale',
      drawn,
      plan: (world) => pick(world.accepted, [drawn])[0]?.id ?? 'order of nobody',
      async act({ id, gates: { generous } }, orderId) {
        const [{ now, ...sale }, order] = await Promise.all([generous.read(id), generous.findReservation(id, orderId)]);
        return { now, sale, order };
      },
      predict({ gate }, orderId, { fromUs, toUs }, { now }) {
        if (now < Math.floor(fromUs / 1_000) || now > toUs / 1_000) throw new ModelMismatch(`read at ${now}`);
        return { now, sale: gate.read(), order: gate.findReservation(orderId) };
      },
    }),
);

export const careCommands = [
  { weight: 4, arbitrary: claimCommand },
  { weight: 4, arbitrary: handOverCommand },
  { weight: 1, arbitrary: openSaleCommand },
  { weight: 3, arbitrary: configureCommand },
  { weight: 4, arbitrary: adjustCommand },
  { weight: 3, arbitrary: checkCommand },
  { weight: 1, arbitrary: readCommand },
];
