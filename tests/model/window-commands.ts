/** Sequences of commands for the global rate limiter, by a clock that the sequence sets. */

import {
  createGlobalRateLimiter,
  type GlobalRateLimiter,
  type Permits,
} from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { clockKey, expectSame, ModelMismatch, START_US, setClock } from './test-clock.ts';
import { WindowModel } from './window-model.ts';

const LIMITS = [1, 5, 1_000] as const;

class WindowWorld {
  readonly model = new WindowModel();
  readonly taken: Permits[] = [];
  /** When permits were taken, µs, since the clock was last set back. */
  passed: { readonly atUs: number; readonly permits: number }[] = [];
  nowUs = START_US;
}

export interface WindowUnderTest {
  readonly redis: Redis;
  readonly key: string;
  readonly limiters: ReadonlyMap<number, GlobalRateLimiter>;
}

/** @param prefix of its own: there is one window for the whole system */
export function createWindowUnderTest(redis: Redis, prefix: string): WindowUnderTest {
  const keys = createKeys(prefix);
  const limiters = new Map(LIMITS.map((limit) => [limit, createGlobalRateLimiter({ redis, keys, limit })]));
  return { redis, key: keys.globalRateLimiter, limiters };
}

type WindowCommand = fc.AsyncCommand<WindowWorld, WindowUnderTest>;

function windowCommand(said: string, act: (world: WindowWorld, real: WindowUnderTest) => Promise<void>): WindowCommand {
  return {
    check: () => true,
    toString: () => said,
    async run(world, real) {
      await act(world, real);
      const [fields, ttlMs] = await Promise.all([real.redis.hgetall(real.key), real.redis.pttl(real.key)]);
      const { taken } = world.model;
      const expected = Array.from(taken, ([slot, permits]) => [slot, String(permits)]);
      expectSame(() => `${said}: the slots`, fields, Object.fromEntries(expected));
      // By Redis' own clock, which a slow run may use up.
      if (taken.size > 0 && (ttlMs < 1 || ttlMs > 5_000)) throw new ModelMismatch(`the window is kept for ${ttlMs} ms`);
    },
  };
}

const take = (limit: number) =>
  fc.oneof(fc.integer({ min: 0, max: 8 }), fc.constantFrom(400, 2_000)).map((wanted) =>
    windowCommand(`take ${wanted} of ${limit}`, async (world, { limiters }) => {
      const told = await (limiters.get(limit) as GlobalRateLimiter).take(wanted);
      expectSame(
        () => `take ${wanted} of ${limit} at ${world.nowUs}`,
        told,
        world.model.take(limit, wanted, world.nowUs),
      );
      world.taken.push(told);
      world.passed.push({ atUs: world.nowUs, permits: told.granted });
      const last = world.passed.filter(({ atUs }) => atUs > world.nowUs - 1.02e6);
      if (last.reduce((sum, { permits }) => sum + permits, 0) > limit)
        throw new ModelMismatch("I9 the system's limit does not hold in the last 1,020 ms");
    }),
  );

/** Of permits that were taken before; also more than there were, and twice. */
const giveBack = (limit: number) =>
  fc.record({ which: fc.nat({ max: 9 }), unused: fc.integer({ min: 1, max: 6 }) }).map(({ which, unused }) =>
    windowCommand(`give back ${unused} of take ${which}`, async (world, { limiters }) => {
      const { model, taken } = world;
      const permits = taken[which % Math.max(1, taken.length)];
      if (!permits) return;
      // What is given back did not pass.
      world.passed = [];
      await (limiters.get(limit) as GlobalRateLimiter).giveBack(permits, unused);
      model.giveBack(permits.slot, unused);
    }),
  );

/** Within a slot, to the next one, to the window's end, past it, and back. */
const PASSES_MS = [
  0, 1, 19, 20, 137, 500, 980, 1_000, 1_019, 1_020, 1_040, 3_600_000, -1, -700, -1_020, -1_040, -3_600_000,
] as const;

const passTime = fc.constantFrom(...PASSES_MS).map((ms) =>
  windowCommand(`${ms} ms pass`, async (world, { redis, key }) => {
    world.nowUs += ms * 1_000 + 1;
    if (ms < 0) world.passed = [];
    await setClock(redis, key, world.nowUs);
  }),
);

export function windowProperty(real: WindowUnderTest): fc.IAsyncProperty<[Iterable<WindowCommand>]> {
  const commandsOf = (limit: number) =>
    fc.commands(
      [
        fc.oneof(
          { weight: 4, arbitrary: take(limit) },
          { weight: 2, arbitrary: giveBack(limit) },
          { weight: 3, arbitrary: passTime },
        ),
      ],
      { maxCommands: 24, size: 'max' },
    );
  return fc.asyncProperty(fc.constantFrom(...LIMITS).chain(commandsOf), async (commands) => {
    await real.redis.del(real.key);
    await setClock(real.redis, real.key, START_US);
    await fc.asyncModelRun(() => ({ model: new WindowWorld(), real }), commands);
    await real.redis.del(real.key, clockKey(real.key));
  });
}
