/**
 * Sequences of commands about the system's window. Each look at its record brings Redis' clock along, as with the inventory (inventory-under-test.ts).
 * What is free at the time of a call lies between what is free by the clocks before and after it; the reply says what it was, and all that
 * follows from it is compared exactly. Seconds that pass are made by writing records of other seconds; the passing itself, and the
 * edge of a second, are in global-rate-limiter.test.ts.
 */

import {
  createGlobalRateLimiter,
  type GlobalRateLimiter,
  type Permits,
} from '@flash-sale/core/inventory/global-rate-limiter.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import fc from 'fast-check';
import type { Redis } from 'ioredis';
import { expectSame, ModelMismatch } from './inventory-under-test.ts';
import { fractionOf, freeAt, giveBack, type Instant, recordAt, type WindowRecord, waitAt } from './window-model.ts';

const LIMITS = [1, 5, 1_000] as const;
type Limit = (typeof LIMITS)[number];

/** Milliseconds after which Redis may have forgotten the record by itself, so that a sequence that was held up for so long ends. */
const HELD_UP_MS = 4_500;

interface Look {
  readonly record: WindowRecord | null;
  readonly ttlMs: number;
  readonly clockUs: number;
}

class WindowWorld {
  record: WindowRecord | null = null;
  readonly taken: Permits[] = [];
  /** False once a record was written by somebody else: then it may say anything. */
  ownRecord = true;
  clockUs = 0;
  heldUp = false;
}

export interface WindowUnderTest {
  readonly windows: Record<Limit, GlobalRateLimiter>;
  readonly redis: Redis;
  readonly key: string;
  look(): Promise<Look>;
}

const LOOK = `
return { redis.call('TIME'), redis.call('HMGET', KEYS[1], 'second', 'present', 'previous'), redis.call('PTTL', KEYS[1]) }`;

/** @param prefix of its own: a window is the whole system's */
export function createWindowUnderTest(redis: Redis, prefix: string): WindowUnderTest {
  const keys = createKeys(prefix);
  const window = (limit: Limit): GlobalRateLimiter => createGlobalRateLimiter({ redis, keys, limit });
  redis.defineCommand('lookAtWindow', { lua: LOOK, numberOfKeys: 1 });
  const { lookAtWindow } = redis as unknown as {
    lookAtWindow(key: string): Promise<[[string, string], (string | null)[], number]>;
  };
  return {
    windows: { 1: window(1), 5: window(5), 1000: window(1_000) },
    redis,
    key: keys.globalRateLimiter,
    async look() {
      const [time, fields, ttlMs] = await lookAtWindow.call(redis, keys.globalRateLimiter);
      const [second, present, previous] = fields.map(Number) as [number, number, number];
      return {
        record: fields[0] === null ? null : { second, present, previous },
        ttlMs,
        clockUs: Number(time[0]) * 1e6 + Number(time[1]),
      };
    },
  };
}

type WindowCommand = fc.AsyncCommand<WindowWorld, WindowUnderTest>;

function windowCommand(said: string, run: (world: WindowWorld, real: WindowUnderTest) => Promise<void>): WindowCommand {
  return { check: (world) => !world.heldUp, toString: () => said, run };
}

/** Looks, and holds what is there against the model; a sequence that was held up for too long is not judged any more. */
async function lookAfter(world: WindowWorld, real: WindowUnderTest, judge: (look: Look) => void): Promise<void> {
  const look = await real.look();
  world.heldUp = (look.clockUs - world.clockUs) / 1_000 > HELD_UP_MS;
  if (world.heldUp) return;
  judge(look);
  expectSame(() => 'the record', look.record, world.record);
  world.clockUs = look.clockUs;
}

const instantOf = (clockUs: number): Instant => ({
  second: Math.floor(clockUs / 1e6),
  fraction: (clockUs % 1e6) / 1e6,
});

/** The parts of the seconds that lie between two clocks. */
function spans(fromUs: number, toUs: number): [Instant, Instant][] {
  const [from, to] = [instantOf(fromUs), instantOf(toUs)];
  const found: [Instant, Instant][] = [];
  for (let { second } = from; second <= to.second; second += 1) {
    found.push([
      second === from.second ? from : { second, fraction: 0 },
      second === to.second ? to : { second, fraction: 1 },
    ]);
  }
  return found;
}

/** What the reply must be, if the call was between two instants of one second; null where it was not. */
function expectedTake(
  counts: WindowRecord,
  limit: Limit,
  wanted: number,
  told: Permits,
  [begin, end]: [Instant, Instant],
): { reply: Permits; after: WindowRecord } | null {
  const free = told.granted + told.remaining;
  if (counts.second !== told.second || free < freeAt(counts, limit, begin) || free > freeAt(counts, limit, end))
    return null;
  const granted = Math.min(wanted, free);
  const after = { ...counts, present: counts.present + granted };
  const left = ({ fraction }: Instant): number => Math.floor((1 - fraction) * 1000);
  const { secondLeftMs } = told;
  if (secondLeftMs > left(begin) || secondLeftMs < left(end)) return null;
  const reply = { granted, second: counts.second, remaining: free - granted, secondLeftMs };
  if (granted === wanted) return { reply: { ...reply, waitMs: 0 }, after };
  // That just so many were free says more exactly when it was. One millisecond is left to the rounding.
  const soonest = Math.max(begin.fraction, free === 0 ? 0 : fractionOf(counts, limit, free));
  const latest = Math.min(end.fraction, fractionOf(counts, limit, free + 1));
  const longest = waitAt(after, limit, { ...begin, fraction: soonest }) + 1;
  const shortest = waitAt(after, limit, { ...end, fraction: latest }) - 1;
  return told.waitMs > longest || told.waitMs < shortest ? null : { reply: { ...reply, waitMs: told.waitMs }, after };
}

function judgeTake(world: WindowWorld, limit: Limit, wanted: number, told: Permits, { clockUs, ttlMs }: Look): void {
  const said = `take-permits: ${wanted} of ${limit} in ${JSON.stringify(world.record)} between ${world.clockUs} and ${clockUs}`;
  // In which second it was, where it may have been in two, is seen from the reply.
  const [expected] = spans(world.clockUs, clockUs).flatMap(
    (span) => expectedTake(recordAt(world.record, span[0]), limit, wanted, told, span) ?? [],
  );
  if (!expected) throw new ModelMismatch(`${said}: at no instant it would be so: ${JSON.stringify(told)}`);
  expectSame(() => said, told, expected.reply);
  world.taken.push(told);
  if (told.granted === 0) return;
  world.record = expected.after;
  // Redis counts it from when it began a round of its loop, so that it is not exact.
  if (ttlMs > 5_000 || ttlMs < 4_000 - (clockUs - world.clockUs) / 1_000) {
    throw new ModelMismatch(`the record is kept for ${ttlMs} ms`);
  }
  if (world.ownRecord && world.record.present > limit)
    throw new ModelMismatch(`${said}: I9 the system's limit does not hold`);
}

const take = (limit: Limit) =>
  fc.oneof(fc.integer({ min: 0, max: 8 }), fc.constantFrom(400, 2_000)).map((wanted) =>
    windowCommand(`take ${wanted} of ${limit}`, async (world, real) => {
      const told = await real.windows[limit].take(wanted);
      await lookAfter(world, real, (look) => judgeTake(world, limit, wanted, told, look));
    }),
  );

/** Of permits that were taken before, also more than there were, also twice. */
const giveSomeBack = (limit: Limit) =>
  fc.record({ which: fc.nat({ max: 9 }), unused: fc.integer({ min: 1, max: 6 }) }).map(({ which, unused }) =>
    windowCommand(`give ${unused} of those taken as number ${which} back`, async (world, real) => {
      const permits = world.taken[which % Math.max(1, world.taken.length)];
      if (!permits) return;
      await real.windows[limit].giveBack(permits, unused);
      await lookAfter(world, real, () => {
        world.record = giveBack(world.record, permits.second, unused);
      });
    }),
  );

/** As if seconds had passed, or the clock been set back: the record is of another second. What was taken is of another one, too. */
const shift = fc
  .record({
    by: fc.constantFrom(-3_600, -2, -1, -1, -1, 0, 1, 2, 3_600),
    present: fc.nat({ max: 6 }),
    previous: fc.nat({ max: 6 }),
  })
  .map(({ by, ...counts }) =>
    windowCommand(`the record is of ${by} s: ${JSON.stringify(counts)}`, async (world, real) => {
      const record = { second: instantOf(world.clockUs).second + by, ...counts };
      await real.redis.del(real.key);
      await real.redis.hset(real.key, record);
      await lookAfter(world, real, () => {
        world.record = record;
        world.ownRecord = false;
        for (const [i, permits] of world.taken.entries())
          world.taken[i] = { ...permits, second: record.second - (i % 3) };
      });
    }),
  );

export function windowProperty(real: WindowUnderTest): fc.IAsyncProperty<[Iterable<WindowCommand>]> {
  const ofLimit = (limit: Limit) =>
    fc.commands(
      [
        fc.oneof(
          { weight: 4, arbitrary: take(limit) },
          { weight: 2, arbitrary: giveSomeBack(limit) },
          { weight: 1, arbitrary: shift },
        ),
      ],
      { maxCommands: 24, size: 'max' },
    );
  return fc.asyncProperty(fc.constantFrom(...LIMITS).chain(ofLimit), async (commands) => {
    const world = new WindowWorld();
    await real.redis.del(real.key);
    world.clockUs = (await real.look()).clockUs;
    await fc.asyncModelRun(() => ({ model: world, real }), commands);
  });
}
