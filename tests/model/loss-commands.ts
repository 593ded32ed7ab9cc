/**
 * Commands about what Redis loses, and about rebuilds, whole or step by step with other commands in
 * between.
 */
import fc from 'fast-check';
import { changeRedeliveries, checkInventory, claimOrphans } from './care-commands.ts';
import { type InventoryCommand, inventoryCommand, type ModelWorld } from './inventory-command.ts';
import type { Instance } from './inventory-model.ts';
import { readmitOrders } from './order-commands.ts';
import { predictStep, type Rebuilder, STEPS, type StepPlan, type StepReply, takeStep } from './rebuild-steps.ts';
import { expectSame } from './test-clock.ts';

const begin = (world: ModelWorld): Rebuilder => {
  const rebuilder: Rebuilder = { epoch: world.ledger.raiseEpoch(), next: 0, left: [], restoration: null };
  world.rebuilders.push(rebuilder);
  return rebuilder;
};

/** By a worker that nothing disturbs: afterwards the inventory is open, whatever it was before. */
const wholeRebuild = inventoryCommand<Rebuilder & Pick<StepPlan, 'ledger'>, StepReply[]>({
  name: 'rebuild the inventory',
  plan: (world) => ({ ...begin(world), ledger: world.ledger }),
  async act(real, { ledger, ...rebuilder }) {
    const replies: StepReply[] = [];
    for (const step of STEPS) {
      const reply = await takeStep(real, { step, rebuilder, ledger });
      Object.assign(rebuilder, { left: reply.left, restoration: reply.restoration });
      replies.push(reply);
    }
    return replies;
  },
  async predict(world, { ledger }) {
    const rebuilder = world.rebuilders.at(-1) as Rebuilder;
    const replies: StepReply[] = [];
    for (const step of STEPS) replies.push(await predictStep(world, { step, rebuilder, ledger }));
    const { inventory } = world;
    const ended = [...inventory.reservations.keys()].filter((id) => ledger.outcomeOf(id));
    expectSame(() => 'what a rebuild leaves', [inventory.check(ledger.sale.epoch).condition, ended], ['sound', []]);
    return replies;
  },
});

/** A rebuilder starts, in a higher epoch than all before it, and closes the inventory. */
const beginRebuild = inventoryCommand({
  name: 'a rebuilder starts',
  plan: (world): StepPlan => ({ step: 'close', rebuilder: begin(world), ledger: world.ledger }),
  act: takeStep,
  predict: predictStep,
});

/**
 * @param drawn.back 0 = the last rebuilder; 1 and more were overtaken
 * @param drawn.step a step that it repeats, as after a lost reply; or its next one
 */
const goOn = (drawn: { back: number; step: number }): InventoryCommand =>
  inventoryCommand({
    name: 'a rebuilder continues',
    drawn,
    can: (world) => world.rebuilders.length > drawn.back,
    plan(world): StepPlan {
      const rebuilder = world.rebuilders.at(-1 - drawn.back) as Rebuilder;
      const at = Math.min(drawn.step, rebuilder.next);
      return { step: STEPS[at % STEPS.length] as StepPlan['step'], rebuilder, ledger: world.ledger };
    },
    act: takeStep,
    predict: predictStep,
  });

const PARTS = [
  'inventory',
  'reservations',
  'claims',
  'redeliveries',
  'buyers',
  'orderKeys',
  'stockChanges',
  'earlierOrders',
] as const;
type Part = (typeof PARTS)[number];
const isAll = (parts: readonly Part[]): boolean => parts.length === PARTS.length;

/** Redis loses everything of the sale, or one of its keys. */
const lose = (drawn: readonly Part[]): InventoryCommand =>
  inventoryCommand({
    name: isAll(drawn) ? 'Redis loses the sale' : 'Redis loses keys',
    drawn,
    can: ({ inventory }) => inventory.inventory !== null,
    plan: (): readonly Part[] => drawn,
    async act({ redis, keys }, parts) {
      await redis.del(...parts.map((part) => keys[part]), ...(isAll(parts) ? [keys.buckets0, keys.buckets1] : []));
    },
    predict(world, parts) {
      for (const part of parts) {
        if (part === 'inventory') world.inventory.inventory = null;
        else world.inventory[part].clear();
      }
      if (isAll(parts)) world.inventory.buckets.clear();
      else world.torn = true;
    },
  });

/**
 * Redis becomes another instance with the same records: these say in which instance the inventory
 * was opened, or closed.
 */
const changeInstance = (instance: Exclude<Instance, 'present'>): InventoryCommand =>
  inventoryCommand({
    name: 'Redis becomes another instance',
    drawn: instance,
    can: ({ inventory }) => inventory.inventory !== null,
    plan: (world) => (world.inventory.inventory?.openIn === null ? 'closed_in' : 'instance_id'),
    async act({ redis, keys, nameOf }, field) {
      await redis.hset(keys.inventory, field, nameOf(instance));
    },
    predict({ inventory: { inventory } }, field) {
      if (inventory) inventory[field === 'instance_id' ? 'openIn' : 'closedIn'] = instance;
    },
  });

/**
 * Several commands as one, each with its own comparison: sequences that would be rare by chance.
 */
function inARow(name: string, commands: readonly InventoryCommand[]): InventoryCommand {
  return {
    check: () => true,
    toString: () => `${name}: ${commands.join('; ')}`,
    async run(world, real) {
      for (const command of commands) if (await command.check(world)) await command.run(world, real);
    },
  };
}

/** A rebuilder, the last one or one that was overtaken, takes its next step or repeats one. */
const goOnCommand = fc
  .record({
    back: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat({ max: 2 })),
    step: fc.oneof({ weight: 2, arbitrary: fc.constant(STEPS.length) }, fc.nat({ max: STEPS.length })),
  })
  .map(goOn);

const DISTURBANCES: Record<string, InventoryCommand> = {
  'another one starts': beginRebuild,
  'the reservations are lost': lose(['reservations']),
  'all is lost': lose(PARTS),
  'another process': changeInstance('other_process'),
  'other data': changeInstance('other_data'),
  // By a reaper that had claimed them before the inventory was closed.
  'redeliveries are counted': changeRedeliveries({ script: 'count', numbers: [...Array(12).keys()] }),
};

/** A rebuilder is disturbed after one of its steps, does not notice, and continues to the end. */
const disturbedRebuildCommand = fc
  .record({ steps: fc.integer({ min: 1, max: 3 }), disturbance: fc.constantFrom(...Object.keys(DISTURBANCES)) })
  .map(({ steps, disturbance }) => {
    const next = (back: number): InventoryCommand => goOn({ back, step: STEPS.length });
    const rest = Array.from({ length: STEPS.length - steps }, () => next(disturbance === 'another one starts' ? 1 : 0));
    const before = Array.from({ length: steps - 1 }, () => next(0));
    const disturb = DISTURBANCES[disturbance] as InventoryCommand;
    return inARow('a disturbed rebuild', [beginRebuild, ...before, disturb, ...rest]);
  });

const AFTERWARDS: Record<string, InventoryCommand[]> = {
  nothing: [],
  'a check': [checkInventory('present')],
  'the reaper': [claimOrphans({ ageMs: -1, pauseMs: 0 })],
  'the earlier jobs': [readmitOrders({ numbers: [...Array(12).keys()], strangers: [], epoch: 'present' })],
  'the reaper, after a redelivery': [changeRedeliveries({ script: 'reset', numbers: [...Array(12).keys()] })],
};

/**
 * Above all the keys that are compared with each other; often another command comes before the
 * rebuild.
 */
const loseCommand = fc
  .record({
    parts: fc.oneof(
      fc.constant(PARTS),
      fc.constantFrom<readonly Part[]>(['reservations'], ['buyers']),
      fc.constantFrom(...PARTS).map((part) => [part]),
    ),
    next: fc.constantFrom(...Object.keys(AFTERWARDS)),
  })
  .map(({ parts, next }) => inARow(`a loss, and then ${next}`, [lose(parts), ...(AFTERWARDS[next] ?? [])]));

export const lossCommands = [
  { weight: 5, arbitrary: fc.constant(wholeRebuild) },
  { weight: 1, arbitrary: fc.constant(beginRebuild) },
  { weight: 7, arbitrary: goOnCommand },
  { weight: 2, arbitrary: disturbedRebuildCommand },
  { weight: 2, arbitrary: loseCommand },
  { weight: 2, arbitrary: fc.constantFrom('other_process' as const, 'other_data' as const).map(changeInstance) },
];

/** Redis forgets the scripts, as after a restart; ioredis sends them again. */
export const forgetScripts = inventoryCommand({
  name: 'Redis forgets the scripts',
  plan: () => null,
  async act({ redis }) {
    await redis.script('FLUSH');
  },
  predict: () => {},
});
