/** Commands about what Redis loses, and about rebuilding an inventory, whole or step by step with others in between. */
import fc from 'fast-check';
import { changeRedeliveries, checkInventory, claimOrphans } from './care-commands.ts';
import { type InventoryCommand, inventoryCommand, type ModelWorld } from './inventory-command.ts';
import type { Life } from './inventory-model.ts';
import { BUYERS, expectSame } from './inventory-under-test.ts';
import { readmitOrders } from './order-commands.ts';
import { predictStep, type Rebuilder, STEPS, type StepPlan, type StepReply, takeStep } from './rebuild-steps.ts';

const begin = (world: ModelWorld): Rebuilder => {
  const rebuilder: Rebuilder = { epoch: world.ledger.raiseEpoch(), next: 0, left: [], restoration: null };
  world.rebuilders.push(rebuilder);
  return rebuilder;
};

/** As a worker does it that nobody disturbs: afterwards the inventory is open, whatever it was like before. */
const wholeRebuildCommand = fc.constant(null).map(
  (drawn): InventoryCommand =>
    inventoryCommand<Rebuilder & Pick<StepPlan, 'ledger'>, StepReply[]>({
      name: 'rebuild the inventory',
      drawn,
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
      predict(world, { ledger }) {
        const rebuilder = world.rebuilders.at(-1) as Rebuilder;
        const replies = STEPS.map((step) => predictStep(world, { step, rebuilder, ledger }));
        const { inventory } = world;
        const ended = [...inventory.reservations.keys()].filter((id) => ledger.outcomeOf(id));
        expectSame(() => 'what a rebuild leaves', [inventory.check(ledger.sale.epoch).condition, ended], ['sound', []]);
        return replies;
      },
    }),
);

/** A rebuilder begins, in a higher epoch than all before it, and closes the inventory; it may never come further. */
const beginRebuild = (): InventoryCommand =>
  inventoryCommand({
    name: 'a rebuilder begins',
    drawn: null,
    plan: (world): StepPlan => ({ step: 'close', rebuilder: begin(world), ledger: world.ledger }),
    act: takeStep,
    predict: predictStep,
  });

interface GoingOn {
  /** 0 = the last rebuilder; the others were overtaken. */
  readonly back: number;
  /** Number of a step that it takes once more, as after a reply that was lost; one that it has not come to yet is its next one. */
  readonly step: number;
}

const goOn = (drawn: GoingOn): InventoryCommand =>
  inventoryCommand({
    name: 'a rebuilder goes on',
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
      else {
        world.torn = true;
        world.forgetful ||= parts.includes('buyers');
      }
    },
  });

/** Redis lives another life, and its records have come along: the inventory says in which life it was opened, or closed. */
const liveAnotherLife = (life: Exclude<Life, 'present'>): InventoryCommand =>
  inventoryCommand({
    name: 'Redis lives another life',
    drawn: life,
    can: ({ inventory }) => inventory.inventory !== null,
    plan: (world) => (world.inventory.inventory?.openIn === null ? 'closed_in' : 'instance_id'),
    async act({ redis, keys, nameOf }, field) {
      await redis.hset(keys.inventory, field, nameOf(life));
    },
    predict({ inventory: { inventory } }, field) {
      if (inventory) inventory[field === 'instance_id' ? 'openIn' : 'closedIn'] = life;
    },
  });

/** Several commands as one, each with its own comparison: what would seldom come about by itself, one just after the other. */
function inARow(name: string, commands: readonly InventoryCommand[]): InventoryCommand {
  return {
    check: () => true,
    toString: () => `${name}: ${commands.join('; ')}`,
    async run(world, real) {
      for (const command of commands) if (await command.check(world)) await command.run(world, real);
    },
  };
}

const beginCommand = fc.constant(null).map(beginRebuild);

/** One of the rebuilders goes on, whether it is the last one or was overtaken; or it takes a step again. */
const goOnCommand = fc
  .record({
    back: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat({ max: 2 })),
    step: fc.oneof({ weight: 2, arbitrary: fc.constant(STEPS.length) }, fc.nat({ max: STEPS.length })),
  })
  .map(goOn);

const DISTURBANCES: Record<string, () => InventoryCommand> = {
  'another one begins': beginRebuild,
  'the reservations are lost': () => lose(['reservations']),
  'all is lost': () => lose(PARTS),
  'another process': () => liveAnotherLife('other_process'),
  'other data': () => liveAnotherLife('other_data'),
  // A reaper had claimed them before the inventory was closed.
  'redeliveries are counted': () => changeRedeliveries({ script: 'count', numbers: [...Array(12).keys()] }),
};

/** A rebuilder is disturbed after one of its steps, does not notice, and goes on to the end. */
const disturbedRebuildCommand = fc
  .record({ steps: fc.integer({ min: 1, max: 3 }), disturbance: fc.constantFrom(...Object.keys(DISTURBANCES)) })
  .map(({ steps, disturbance }) => {
    const next = (back: number): InventoryCommand => goOn({ back, step: STEPS.length });
    const rest = Array.from({ length: STEPS.length - steps }, () => next(disturbance === 'another one begins' ? 1 : 0));
    const before = Array.from({ length: steps - 1 }, () => next(0));
    const disturb = DISTURBANCES[disturbance] as () => InventoryCommand;
    return inARow('a disturbed rebuild', [beginRebuild(), ...before, disturb(), ...rest]);
  });

const AFTERWARDS: Record<string, () => InventoryCommand[]> = {
  nothing: () => [],
  'a look': () => [checkInventory('present')],
  'the reaper': () => [claimOrphans({ ageMs: -1, pauseMs: 0 })],
  'the jobs of earlier': () => [readmitOrders({ numbers: [...Array(12).keys()], strangers: [], epoch: 'present' })],
  'the reaper, after a enqueue': () => [changeRedeliveries({ script: 'lower', numbers: [...Array(12).keys()] })],
};

/** Above all those keys are lost alone that are held against each other; and often somebody comes before the inventory is rebuilt. */
const loseCommand = fc
  .record({
    parts: fc.oneof(
      fc.constant(PARTS),
      fc.constant<readonly Part[]>(['reservations']),
      fc.constantFrom(...PARTS).map((part) => [part]),
    ),
    next: fc.constantFrom(...Object.keys(AFTERWARDS)),
  })
  .map(({ parts, next }) =>
    inARow(`a loss, and then ${next}`, [lose(parts), ...(AFTERWARDS[next] as () => InventoryCommand[])()]),
  );

const otherLifeCommand = fc.constantFrom('other_process' as const, 'other_data' as const).map(liveAnotherLife);

/** The clock of Redis was an hour ahead when a bucket was written, an order claimed, and the time of the next pass said. */
const clockSetBackCommand = fc.record({ buyerId: fc.constantFrom(...BUYERS), tokens: fc.constantFrom(0, 1) }).map(
  (drawn): InventoryCommand =>
    inventoryCommand({
      name: 'the clock was set back',
      drawn,
      plan: ({ inventory }) => {
        const [claimed] = inventory.reservations.keys();
        return {
          ...drawn,
          claimed,
          hasPass: inventory.inventory?.nextPass != null,
          at: (Date.now() + 3_600_000) * 1_000,
        };
      },
      async act({ redis, keys }, { buyerId, tokens, claimed, hasPass, at }) {
        const [a, b] = await Promise.all([redis.hget(keys.buckets0, ' since'), redis.hget(keys.buckets1, ' since')]);
        const newer = Number(b) > Number(a) ? keys.buckets1 : keys.buckets0;
        await redis.hset(newer, ' since', Math.floor(at / 1_000), buyerId, `${tokens}.000000:${at}`);
        await redis.expire(newer, 3_600);
        if (claimed !== undefined) await redis.hset(keys.claims, claimed, at / 1_000);
        if (hasPass) await redis.hset(keys.inventory, 'next_pass', at / 1_000);
      },
      predict({ inventory }, { buyerId, tokens, claimed, hasPass, at }) {
        inventory.buckets.set(buyerId, { tokens, at });
        if (claimed !== undefined) inventory.claims.set(claimed, at / 1_000);
        if (hasPass && inventory.inventory) inventory.inventory.nextPass = at / 1_000;
      },
    }),
);

export const lossCommands = [
  { weight: 5, arbitrary: wholeRebuildCommand },
  { weight: 1, arbitrary: beginCommand },
  { weight: 7, arbitrary: goOnCommand },
  { weight: 2, arbitrary: disturbedRebuildCommand },
  { weight: 2, arbitrary: loseCommand },
  { weight: 2, arbitrary: otherLifeCommand },
  { weight: 1, arbitrary: clockSetBackCommand },
];

/** Redis forgets the scripts, as after a restart; the client library sends them again. */
export const forgetScriptsCommand = fc.constant(null).map(
  (drawn): InventoryCommand =>
    inventoryCommand({
      name: 'Redis forgets the scripts',
      drawn,
      plan: () => null,
      async act({ redis }) {
        await redis.script('FLUSH');
      },
      predict: () => {},
    }),
);
