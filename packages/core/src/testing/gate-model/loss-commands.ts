/** Commands about what Redis loses, and about making a gate anew, whole or step by step with others in between. */
import fc from 'fast-check';
import { changeHandOvers, checkGate, claimStrands } from './care-commands.ts';
import { type GateCommand, gateCommand, type ModelWorld } from './gate-command.ts';
import type { Life } from './gate-model.ts';
import { BUYERS, expectSame } from './gate-under-test.ts';
import { adoptOrders } from './order-commands.ts';
import { predictStep, type Rebuilder, STEPS, type StepPlan, type StepReply, takeStep } from './rebuild-steps.ts';

const begin = (world: ModelWorld): Rebuilder => {
  const rebuilder: Rebuilder = { epoch: world.ledger.raiseEpoch(), next: 0, left: [], restoration: null };
  world.rebuilders.push(rebuilder);
  return rebuilder;
};

/** As a worker does it that nobody disturbs: afterwards the gate is open, whatever it was like before. */
const wholeRebuildCommand = fc.constant(null).map(
  (drawn): GateCommand =>
    gateCommand<Rebuilder & Pick<StepPlan, 'ledger'>, StepReply[]>({
      name: 'rebuild the gate',
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
        const { gate } = world;
        const ended = [...gate.reservations.keys()].filter((id) => ledger.verdictOf(id));
        expectSame(() => 'what a rebuild leaves', [gate.check(ledger.sale.epoch).condition, ended], ['sound', []]);
        return replies;
      },
    }),
);

/** A rebuilder begins, in a higher epoch than all before it, and closes the gate; it may never come further. */
const beginRebuild = (): GateCommand =>
  gateCommand({
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

const goOn = (drawn: GoingOn): GateCommand =>
  gateCommand({
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
  'gate',
  'reservations',
  'claims',
  'handOvers',
  'buyers',
  'orderKeys',
  'stockChanges',
  'earlierOrders',
] as const;
type Part = (typeof PARTS)[number];
const isAll = (parts: readonly Part[]): boolean => parts.length === PARTS.length;

/** Redis loses everything of the sale, or one of its keys. */
const lose = (drawn: readonly Part[]): GateCommand =>
  gateCommand({
    name: isAll(drawn) ? 'Redis loses the sale' : 'Redis loses keys',
    drawn,
    can: ({ gate }) => gate.gate !== null,
    plan: (): readonly Part[] => drawn,
    async act({ redis, keys }, parts) {
      await redis.del(...parts.map((part) => keys[part]), ...(isAll(parts) ? keys.buckets : []));
    },
    predict(world, parts) {
      for (const part of parts) {
        if (part === 'gate') world.gate.gate = null;
        else world.gate[part].clear();
      }
      if (isAll(parts)) world.gate.buckets.clear();
      else {
        world.torn = true;
        world.forgetful ||= parts.includes('buyers');
      }
    },
  });

/** Redis lives another life, and its records have come along: the gate says in which life it was opened, or closed. */
const liveAnotherLife = (life: Exclude<Life, 'present'>): GateCommand =>
  gateCommand({
    name: 'Redis lives another life',
    drawn: life,
    can: ({ gate }) => gate.gate !== null,
    plan: (world) => (world.gate.gate?.openIn === null ? 'closed_in' : 'run_id'),
    async act({ redis, keys, nameOf }, field) {
      await redis.hset(keys.gate, field, nameOf(life));
    },
    predict({ gate: { gate } }, field) {
      if (gate) gate[field === 'run_id' ? 'openIn' : 'closedIn'] = life;
    },
  });

/** Several commands as one, each with its own comparison: what would seldom come about by itself, one just after the other. */
function inARow(name: string, commands: readonly GateCommand[]): GateCommand {
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

const DISTURBANCES: Record<string, () => GateCommand> = {
  'another one begins': beginRebuild,
  'the reservations are lost': () => lose(['reservations']),
  'all is lost': () => lose(PARTS),
  'another process': () => liveAnotherLife('other_process'),
  'other data': () => liveAnotherLife('other_data'),
  // A sweep had claimed them before the gate was closed.
  'hand-overs are counted': () => changeHandOvers({ script: 'count', numbers: [...Array(12).keys()] }),
};

/** A rebuilder is disturbed after one of its steps, does not notice, and goes on to the end. */
const disturbedRebuildCommand = fc
  .record({ steps: fc.integer({ min: 1, max: 3 }), disturbance: fc.constantFrom(...Object.keys(DISTURBANCES)) })
  .map(({ steps, disturbance }) => {
    const next = (back: number): GateCommand => goOn({ back, step: STEPS.length });
    const rest = Array.from({ length: STEPS.length - steps }, () => next(disturbance === 'another one begins' ? 1 : 0));
    const before = Array.from({ length: steps - 1 }, () => next(0));
    const disturb = DISTURBANCES[disturbance] as () => GateCommand;
    return inARow('a disturbed rebuild', [beginRebuild(), ...before, disturb(), ...rest]);
  });

const AFTERWARDS: Record<string, () => GateCommand[]> = {
  nothing: () => [],
  'a look': () => [checkGate('present')],
  'the sweep': () => [claimStrands({ ageMs: -1, pauseMs: 0 })],
  'the jobs of earlier': () => [adoptOrders({ numbers: [...Array(12).keys()], strangers: [], epoch: 'present' })],
  'the sweep, after a hand-over': () => [changeHandOvers({ script: 'lower', numbers: [...Array(12).keys()] })],
};

/** Above all those keys are lost alone that are held against each other; and often somebody comes before the gate is made anew. */
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
    inARow(`a loss, and then ${next}`, [lose(parts), ...(AFTERWARDS[next] as () => GateCommand[])()]),
  );

const otherLifeCommand = fc.constantFrom('other_process' as const, 'other_data' as const).map(liveAnotherLife);

/** The clock of Redis was an hour ahead when a bucket was written, an order claimed, and the time of the next pass said. */
const clockSetBackCommand = fc.record({ buyerId: fc.constantFrom(...BUYERS), tokens: fc.constantFrom(0, 1) }).map(
  (drawn): GateCommand =>
    gateCommand({
      name: 'the clock was set back',
      drawn,
      plan: ({ gate }) => {
        const [claimed] = gate.reservations.keys();
        return { ...drawn, claimed, hasPass: gate.gate?.nextPass != null, at: (Date.now() + 3_600_000) * 1_000 };
      },
      async act({ redis, keys }, { buyerId, tokens, claimed, hasPass, at }) {
        const [a, b] = await Promise.all(keys.buckets.map((key) => redis.hget(key, ' since')));
        const newer = keys.buckets[Number(b) > Number(a) ? 1 : 0];
        await redis.hset(newer, ' since', Math.floor(at / 1_000), buyerId, `${tokens}.000000:${at}`);
        await redis.expire(newer, 3_600);
        if (claimed !== undefined) await redis.hset(keys.claims, claimed, at / 1_000);
        if (hasPass) await redis.hset(keys.gate, 'next_pass', at / 1_000);
      },
      predict({ gate }, { buyerId, tokens, claimed, hasPass, at }) {
        gate.buckets.set(buyerId, { tokens, at });
        if (claimed !== undefined) gate.claims.set(claimed, at / 1_000);
        if (hasPass && gate.gate) gate.gate.nextPass = at / 1_000;
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
  (drawn): GateCommand =>
    gateCommand({
      name: 'Redis forgets the scripts',
      drawn,
      plan: () => null,
      async act({ redis }) {
        await redis.script('FLUSH');
      },
      predict: () => {},
    }),
);
