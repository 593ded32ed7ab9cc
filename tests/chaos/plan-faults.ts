/**
 * The plan of faults, made from the seed. Storms and calms take turns: in a storm faults overlap;
 * in a calm there is none, so that excuses expire and every order can end.
 */
import { type FaultKind, KINDS, type Kind, type PlannedFault } from './faults.ts';
import type { Random } from './seeded-random.ts';

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
/** A run shorter than this is one storm. */
const ONE_STORM_MS = 70_000;
/** Runs of this length have stops longer than any lock, lease or timeout (WORKER_SILENT_MS). */
const LONG_RUN_MS = 300_000;
const LONG_STOP_MS = { least: 21_000, most: 28_000 } as const;

interface PlanOptions {
  readonly random: Random;
  readonly totalMs: number;
  readonly apis: number;
  readonly workers: number;
  readonly kinds: readonly FaultKind[];
}

export function planFaults(options: PlanOptions): Plan {
  const storms: Storm[] = [];
  if (options.totalMs <= ONE_STORM_MS) storms.push({ from: 0, until: options.totalMs });
  else
    for (let from = 0; from + CALM_MS < options.totalMs; from += STORM_MS + CALM_MS)
      storms.push({ from, until: Math.min(from + STORM_MS, options.totalMs) });
  const faults = storms.flatMap((storm, i) => options.kinds.flatMap((kind) => planKind(options, kind, storm, i)));
  return { storms, faults: faults.sort((a, b) => a.at - b.at) };
}

/** At least two of each kind in a storm, each in its own share of the time. */
function planKind({ random, totalMs, apis, workers }: PlanOptions, kind: FaultKind, storm: Storm, number: number) {
  const { everyMs, draw }: Kind = KINDS[kind];
  const length = storm.until - storm.from;
  const count = Math.max(2, Math.round(length / everyMs));
  return Array.from({ length: count }, (_, i): PlannedFault => {
    const own = random.fork(`storm-${number}/${kind}/${i}`);
    const at = storm.from + ((i + own.next()) * length) / count;
    const [api, worker] = [`api-${own.integer(1, apis)}`, `worker-${own.integer(1, workers)}`];
    const service = own.chance(0.5) ? api : worker;
    const way = `${service}>${own.chance(0.6) ? 'redis' : 'postgres'}`;
    const { target = way, lastsMs = 0, ...drawn } = draw({ random: own, api, worker, service });
    // The second one is early in the storm, whose end would cut a later one short.
    const isLong = kind === 'stop' && totalMs >= LONG_RUN_MS && i === 1;
    const wanted = isLong ? own.between(LONG_STOP_MS.least, LONG_STOP_MS.most) : lastsMs;
    return { kind, target, ...drawn, at, lastsMs: Math.max(50, Math.min(wanted, storm.until - at)) };
  });
}
