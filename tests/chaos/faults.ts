/** The faults: how often each kind comes, what is drawn for it, and what it does. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import type { FaultLog } from './fault-log.ts';
import type { Random } from './seeded-random.ts';
import type { ChaosSystem } from './system.ts';

export interface PlannedFault {
  readonly kind: FaultKind;
  /** redis, postgres, api-1, worker-2, or a way: api-1>redis. */
  readonly target: string;
  /** Milliseconds after the first storm's beginning. */
  readonly at: number;
  /** ms; for a kill, until it is started again. */
  readonly lastsMs: number;
  readonly direction?: 'up' | 'down' | 'both';
  readonly delayMs?: number;
  /** Of a process's clock; below 0: back. */
  readonly clockStepMs?: number;
  /** How a hold ends: held bytes arrive, or the connections are cut. */
  readonly ending?: 'release' | 'cut';
  readonly stays?: 'near' | 'far';
}

type Drawn = Omit<PlannedFault, 'kind' | 'at' | 'lastsMs' | 'target'> & { target?: string; lastsMs?: number };

interface Drawing {
  readonly random: Random;
  readonly api: string;
  readonly worker: string;
  /** One of the two. */
  readonly service: string;
}

interface Scene {
  readonly system: ChaosSystem;
  /** Ends early as the last storm is over. */
  readonly wait: (ms: number) => Promise<void>;
  /** Raised: the last storm is over. */
  readonly over: AbortSignal;
}

export interface Kind {
  /** Mean milliseconds between two of a kind in a storm. */
  readonly everyMs: number;
  /** Default target: a way from a process to a server. */
  draw(from: Drawing): Drawn;
  /** Resolves when the target works again; a returned function resolves when the fault is over. */
  run(scene: Scene, fault: PlannedFault): Promise<(() => Promise<void>) | void>;
}

const proxyOf = ({ system }: Scene, { target }: PlannedFault): TcpProxy => {
  const proxy = system.proxies.get(target);
  if (!proxy) throw new Error(`there is no way ${target}`);
  return proxy;
};
const directionsOf = ({ direction = 'both' }: PlannedFault) =>
  direction === 'both' ? (['up', 'down'] as const) : ([direction] as const);
async function freeze({ system, wait }: Scene, { target, lastsMs }: PlannedFault): Promise<void> {
  system.signal(target, 'SIGSTOP');
  await wait(lastsMs);
  system.signal(target, 'SIGCONT');
}
const tellRedis =
  (...command: [string, ...string[]]) =>
  async ({ system }: Scene): Promise<void> => {
    // If it is down, there is nothing to do.
    await system.askRedis(...command).catch(() => {});
  };
const onRedis = () => ({ target: 'redis' });

export const KINDS = {
  kill: {
    everyMs: 3_100,
    draw({ random, api, worker, service }) {
      const target = random.weighted({ [api]: 31, [worker]: 31, redis: 19, postgres: 19 });
      return { target, lastsMs: random.between(50, target === service ? 2_500 : 1_500) };
    },
    async run({ system, wait }, { target, lastsMs }) {
      await system.kill(target);
      await wait(lastsMs);
      await system.start(target);
    },
  },
  stop: {
    everyMs: 6_500,
    // Past the time of a job's lock (6 s) as often as not.
    draw: ({ random, service }) => ({
      target: service,
      lastsMs: random.chance(0.5) ? random.between(6_000, 10_000) : random.between(1_000, 6_000),
    }),
    run: freeze,
  },
  stop_redis: {
    everyMs: 13_000,
    draw: ({ random }) => ({ target: 'redis', lastsMs: random.between(200, 4_000) }),
    run: freeze,
  },
  restart_redis: {
    everyMs: 30_000,
    draw: ({ random }) => ({ target: 'redis', lastsMs: random.between(50, 800) }),
    async run({ system, wait }, { lastsMs }) {
      await system.shutDownRedis();
      await wait(lastsMs);
      await system.start('redis');
    },
  },
  delay: {
    everyMs: 6_000,
    draw: ({ random }) => ({
      lastsMs: random.between(1_000, 6_000),
      direction: random.pick(['up', 'down', 'both']),
      delayMs: random.between(20, 300),
    }),
    async run(scene, fault) {
      const proxy = proxyOf(scene, fault);
      for (const direction of directionsOf(fault)) proxy.delay(direction, fault.delayMs ?? 0);
      await scene.wait(fault.lastsMs);
      for (const direction of directionsOf(fault)) proxy.delay(direction, 0);
    },
  },
  hold: {
    everyMs: 7_000,
    draw: ({ random }) => ({
      lastsMs: random.between(1_000, 8_000),
      direction: random.pick(['up', 'down', 'both']),
      ending: random.pick(['release', 'cut']),
    }),
    async run(scene, fault) {
      const proxy = proxyOf(scene, fault);
      for (const direction of directionsOf(fault)) proxy.hold(direction);
      await scene.wait(fault.lastsMs);
      if (fault.ending === 'cut') proxy.cut();
      for (const direction of directionsOf(fault)) proxy.release(direction);
    },
  },
  cut: {
    everyMs: 6_000,
    draw: () => ({}),
    run: async (scene, fault) => proxyOf(scene, fault).cut(),
  },
  refuse: {
    everyMs: 16_000,
    draw: ({ random }) => ({ lastsMs: random.between(300, 3_000) }),
    async run(scene, fault) {
      const proxy = proxyOf(scene, fault);
      proxy.refuse();
      await scene.wait(fault.lastsMs);
      proxy.accept();
    },
  },
  /** Half-open connections: the fault lasts until the process notices. */
  orphan: {
    everyMs: 22_000,
    draw: ({ random }) => ({ stays: random.pick(['near', 'far']) }),
    async run(scene, fault) {
      const proxy = proxyOf(scene, fault);
      proxy.orphan(fault.stays ?? 'near');
      return async () => {
        while (proxy.orphans > 0 && !scene.over.aborted) await scene.wait(100);
      };
    },
  },
  /** Redis's clock, by which everything is decided, is not touched. */
  clock_step: {
    everyMs: 6_000,
    draw: ({ random, service }) => ({
      target: service,
      clockStepMs: random.pick([-1, 1]) * random.pick([500, 5_000, 60_000, 3_600_000]),
    }),
    run: async ({ system }, { target, clockStepMs = 0 }) => system.stepClock(target, clockStepMs),
  },
  flush_scripts: { everyMs: 9_000, draw: onRedis, run: tellRedis('SCRIPT', 'FLUSH') },
  kill_clients: {
    everyMs: 9_000,
    draw: onRedis,
    run: tellRedis('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'),
  },
  end_backends: {
    everyMs: 15_000,
    draw: () => ({ target: 'postgres' }),
    async run({ system }) {
      const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()`;
      await system.askPostgres(sql).catch(() => {});
    },
  },
  lose_redis: { everyMs: 40_000, draw: onRedis, run: tellRedis('FLUSHALL') },
} satisfies Record<string, Kind>;

export type FaultKind = keyof typeof KINDS;

/** All but emptying Redis, which loses accepted orders. */
export const USUAL_KINDS = (Object.keys(KINDS) as FaultKind[]).filter((kind) => kind !== 'lose_redis');

/** ms that a fault waits for a target that has another one. */
const WAITS_FOR_TARGET_MS = 4_000;
const BACK_WITHIN_MS = 60_000;

/** Runs the planned faults, and logs when each began and its target worked again. */
export class FaultRunner {
  readonly counts = new Map<string, number>();
  /** One line for each fault. */
  readonly lines: string[] = [];
  skipped = 0;
  readonly #system: ChaosSystem;
  readonly #log: FaultLog;
  readonly #origin: number;
  readonly #busy = new Set<string>();
  /** Raised: whatever lasts ends now. */
  readonly #over: AbortSignal;

  constructor(system: ChaosSystem, log: FaultLog, origin: number, over: AbortSignal) {
    this.#system = system;
    this.#log = log;
    this.#origin = origin;
    this.#over = over;
  }

  get kills(): number {
    return [...this.counts].reduce((sum, [what, count]) => sum + (what.startsWith('kill of ') ? count : 0), 0);
  }

  /** Runs each at its time. @throws if a target does not come back */
  async run(faults: readonly PlannedFault[]): Promise<void> {
    const failures: unknown[] = [];
    const running: Promise<void>[] = [];
    for (const fault of faults) {
      await this.#wait(this.#origin + fault.at - performance.now());
      if (this.#over.aborted || failures.length > 0) break;
      running.push(this.#runOne(fault).catch((error: unknown) => void failures.push(error)));
    }
    await Promise.all(running);
    if (failures.length > 0) throw failures[0];
  }

  async #runOne(fault: PlannedFault): Promise<void> {
    const { kind, target, lastsMs } = fault;
    for (const until = performance.now() + WAITS_FOR_TARGET_MS; this.#busy.has(target); await this.#wait(50)) {
      if (performance.now() < until && !this.#over.aborted) continue;
      this.skipped += 1;
      return;
    }
    const from = performance.now();
    const what = `${kind} of ${target.replaceAll(/-\d+/g, '')}`;
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
    this.lines.push(`${new Date().toISOString()} (clock ${(from / 1_000).toFixed(3)}) ${JSON.stringify(fault)}`);
    const end = this.#log.begin(target, kind, from);
    this.#busy.add(target);
    const scene: Scene = { system: this.#system, wait: (ms) => this.#wait(ms), over: this.#over };
    const { run }: Kind = KINDS[kind];
    const rest = await run(scene, fault).finally(() => this.#busy.delete(target));
    await rest?.();
    const now = performance.now();
    end(now);
    if (!rest && now - from > lastsMs + BACK_WITHIN_MS)
      throw new Error(`${what}: not back within ${BACK_WITHIN_MS} ms`);
  }

  async #wait(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#over }).catch(() => {});
  }
}
