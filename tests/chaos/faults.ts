/**
 * The plan of faults: which, on whom, when, for how long, all of it from the seed. Storms and calms take turns: within a storm faults overlap
 * as they fall, in a calm there is none, so that what a reply may be excused by runs out and every order can be seen to end.
 *
 * To add a fault: a kind here with how often it comes, its targets and what is drawn for it; what it does in bring-faults.ts; which replies
 * it excuses in weather.ts, where it hits a part that is not there yet.
 */
import type { Random } from './seeded-random.ts';

/** Mean milliseconds between two of a kind in a storm. */
const EVERY_MS = {
  kill: 3_100,
  stop: 6_500,
  stop_redis: 13_000,
  restart_redis: 30_000,
  delay: 6_000,
  hold: 7_000,
  cut: 6_000,
  refuse: 16_000,
  orphan: 22_000,
  flush_scripts: 9_000,
  kill_clients: 9_000,
  end_backends: 15_000,
  lose_redis: 40_000,
} as const;

export type FaultKind = keyof typeof EVERY_MS;

export interface PlannedFault {
  readonly kind: FaultKind;
  /** redis, postgres, api-1, worker-2, or a way: api-1>redis. */
  readonly target: string;
  /** Milliseconds after the first storm's beginning. */
  readonly at: number;
  /** Milliseconds; for a kill the time before it is started again. */
  readonly lastsMs: number;
  readonly direction?: 'up' | 'down' | 'both';
  readonly delayMs?: number;
  /** How a hold ends: what was held arrives, or the connections are cut. */
  readonly ending?: 'release' | 'cut';
  readonly stays?: 'near' | 'far';
}

interface Storm {
  readonly from: number;
  readonly until: number;
}

export interface Plan {
  readonly storms: readonly Storm[];
  readonly faults: readonly PlannedFault[];
}

const STORM_MS = 45_000;
const CALM_MS = 16_000;

/** A run of at least this many milliseconds also has stops that are longer than any lock, lease or socket timeout. */
const LONG_RUN_MS = 300_000;

/** Milliseconds of such a stop: past the 20 s after which a silent connection to Redis is given up (WORK_SOCKET_TIMEOUT_MS). */
const LONG_STOP_MS = { least: 21_000, most: 28_000 } as const;

/** A run shorter than this is one storm. */
const ONE_STORM_MS = 70_000;

/** All but emptying Redis, after which nothing can be kept that it alone had promised. */
export const USUAL_KINDS: readonly FaultKind[] = (Object.keys(EVERY_MS) as FaultKind[]).filter(
  (kind) => kind !== 'lose_redis',
);

export function planFaults(options: {
  random: Random;
  totalMs: number;
  apis: number;
  workers: number;
  kinds: readonly FaultKind[];
}): Plan {
  const { random, totalMs, kinds } = options;
  const storms = layOut(totalMs);
  const faults = storms.flatMap((storm, i) =>
    kinds.flatMap((kind) =>
      planKind(random.fork(`storm-${i}/${kind}`), kind, storm, { ...options, isLong: totalMs >= LONG_RUN_MS }),
    ),
  );
  return { storms, faults: faults.sort((a, b) => a.at - b.at) };
}

function layOut(totalMs: number): Storm[] {
  if (totalMs <= ONE_STORM_MS) return [{ from: 0, until: totalMs }];
  const storms: Storm[] = [];
  for (let from = 0; from + CALM_MS < totalMs; from += STORM_MS + CALM_MS) {
    storms.push({ from, until: Math.min(from + STORM_MS, totalMs) });
  }
  return storms;
}

/** At least two of each in a storm, each somewhere in its own share of the time. */
function planKind(
  random: Random,
  kind: FaultKind,
  storm: Storm,
  parts: { apis: number; workers: number; isLong: boolean },
): PlannedFault[] {
  const length = storm.until - storm.from;
  const count = Math.max(2, Math.round(length / EVERY_MS[kind]));
  return Array.from({ length: count }, (_, i) => {
    const at = storm.from + ((i + random.next()) * length) / count;
    const drawn = draw(random.fork(i), kind, parts);
    // Early in the storm, which would end a later one.
    if (kind === 'stop' && parts.isLong && i === 1) {
      drawn.lastsMs = random.fork('long').between(LONG_STOP_MS.least, LONG_STOP_MS.most);
    }
    return { kind, ...drawn, at, lastsMs: Math.max(50, Math.min(drawn.lastsMs, storm.until - at)) };
  });
}

function draw(
  random: Random,
  kind: FaultKind,
  { apis, workers }: { apis: number; workers: number },
): Omit<PlannedFault, 'kind' | 'at' | 'lastsMs'> & { lastsMs: number } {
  const api = `api-${random.integer(1, apis)}`;
  const worker = `worker-${random.integer(1, workers)}`;
  const process = random.chance(0.5) ? api : worker;
  const way = `${process}>${random.chance(0.6) ? 'redis' : 'postgres'}`;
  switch (kind) {
    case 'kill': {
      const target = random.weighted({ [api]: 31, [worker]: 31, redis: 19, postgres: 19 });
      return { target, lastsMs: random.between(50, target === process ? 2_500 : 1_500) };
    }
    case 'stop':
      // Past the time of a job's lock (6 s) as often as not.
      return {
        target: process,
        lastsMs: random.chance(0.5) ? random.between(6_000, 10_000) : random.between(1_000, 6_000),
      };
    case 'stop_redis':
      return { target: 'redis', lastsMs: random.between(200, 4_000) };
    case 'restart_redis':
    case 'lose_redis':
      return { target: 'redis', lastsMs: random.between(50, 800) };
    case 'delay':
      return {
        target: way,
        lastsMs: random.between(1_000, 6_000),
        direction: random.pick(['up', 'down', 'both']),
        delayMs: random.between(20, 300),
      };
    case 'hold':
      return {
        target: way,
        lastsMs: random.between(1_000, 8_000),
        direction: random.pick(['up', 'down', 'both']),
        ending: random.pick(['release', 'cut']),
      };
    case 'cut':
      return { target: way, lastsMs: 50 };
    case 'refuse':
      return { target: way, lastsMs: random.between(300, 3_000) };
    case 'orphan':
      return { target: way, lastsMs: 50, stays: random.pick(['near', 'far']) };
    case 'flush_scripts':
    case 'kill_clients':
      return { target: 'redis', lastsMs: 50 };
    case 'end_backends':
      return { target: 'postgres', lastsMs: 50 };
  }
}
