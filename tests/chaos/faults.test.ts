/** Fault plans are reproducible from their seed and have enough faults of each kind. */
import { CONSTANTS } from '@flash-sale/core/config/settings.ts';
import { expect, test } from 'vitest';
import { USUAL_KINDS } from './faults.ts';
import { planFaults } from './plan-faults.ts';
import { freshSeed, Random } from './seeded-random.ts';

const plan = (seed: string, minutes: number) =>
  planFaults({ random: new Random(seed), totalMs: minutes * 60_000, apis: 2, workers: 2, kinds: USUAL_KINDS });

test('the numbers of a fork depend only on the seed and its name, not on what else was drawn', () => {
  const [one, other] = [new Random('seed'), new Random('seed')];
  for (let i = 0; i < 100; i++) other.next();
  const draws = (random: Random) => Array.from({ length: 5 }, () => random.integer(0, 1e9));
  expect(draws(other.fork('buyer'))).toEqual(draws(one.fork('buyer')));
  expect(draws(one.fork('buyer'))).not.toEqual(draws(one.fork('operator')));
  expect(draws(new Random('a'))).not.toEqual(draws(new Random('b')));
});

test('the same seed gives the same plan, another seed a different one', () => {
  expect(plan('seed', 2)).toEqual(plan('seed', 2));
  expect(plan('seed', 2)).not.toEqual(plan('other', 2));
});

test('ten minutes have more than 120 kills, and 18 seconds have at least two faults of each kind', () => {
  for (const seed of ['a', 'b', freshSeed()]) {
    expect(plan(seed, 10).faults.filter((fault) => fault.kind === 'kill').length).toBeGreaterThan(120);
    const kinds = Map.groupBy(plan(seed, 0.3).faults, (fault) => fault.kind);
    expect(Math.min(...USUAL_KINDS.map((kind) => kinds.get(kind)?.length ?? 0))).toBeGreaterThan(1);
  }
});

test('only long runs have stops that outlast every lock, lease and socket timeout', () => {
  const stops = (seed: string, minutes: number): number[] =>
    plan(seed, minutes).faults.flatMap(({ kind, lastsMs }) => (kind === 'stop' ? [lastsMs] : []));
  for (const seed of ['a', 'b', freshSeed()]) {
    expect(stops(seed, 5).filter((ms) => ms > CONSTANTS.WORKER_SILENT_MS + 500).length).toBeGreaterThanOrEqual(4);
    expect(Math.max(...stops(seed, 4.9))).toBeLessThanOrEqual(10_000);
    expect(stops(seed, 5).filter((ms) => ms <= 10_000).length).toBeGreaterThan(15);
  }
});

test('every fault begins and ends within a storm, so that calms have none', () => {
  const { storms, faults } = plan('seed', 5);
  expect(storms.length).toBeGreaterThan(3);
  for (const { at, lastsMs } of faults) {
    expect(storms.some((storm) => at >= storm.from && at + lastsMs <= storm.until + 50)).toBe(true);
  }
});
