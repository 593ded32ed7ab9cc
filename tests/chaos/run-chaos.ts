/**
 * One random run: the system starts and the first sales are created; buyers and operators work
 * while planned faults are injected; in a calm at the end no fault excuses anything; every accepted
 * order must have ended; the auditor checks ledger and inventory.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_TOKEN } from '../support/running-system.ts';
import { Auditor } from './auditor.ts';
import { awaitEnds, Buyers, pause, type Stage } from './buyers.ts';
import { checkEnd } from './check-end.ts';
import { RULES } from './check-reply.ts';
import { Client, type Target } from './client.ts';
import type { FaultLog } from './fault-log.ts';
import { FaultRunner, type PlannedFault, USUAL_KINDS } from './faults.ts';
import { Operators } from './operators.ts';
import { type Plan, planFaults } from './plan-faults.ts';
import { evidenceOf, isClean, type RunReport } from './report.ts';
import { Random } from './seeded-random.ts';
import { auditViolations, nothingIsReserved, readEnd } from './snapshot.ts';
import { ChaosSystem, REQUEST_TIMEOUT_MS } from './system.ts';

export interface ChaosOptions {
  readonly seed: string;
  /** Milliseconds from the first fault until all faults are over. */
  readonly totalMs: number;
  /** Where a Redis from Debian's packages is kept. */
  readonly distFolder: string;
  /** Instead of the plan that the seed makes. */
  readonly faults?: readonly PlannedFault[];
  readonly loseRedis?: boolean;
  /** Milliseconds after the last fault in which they work on. */
  readonly calmMs?: number;
  readonly terminalWithinMs?: number;
  /** Over the settings of API and workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Puts a proxy in front of an API: for a test that breaks the system on purpose. */
  readonly front?: (target: Target) => Promise<Target>;
  /** Keeps the logs also if nothing is wrong. */
  readonly keepLogs?: boolean;
  readonly signal?: AbortSignal;
  readonly say?: (line: string) => void;
}

const [APIS, WORKERS, BUYERS, OPERATORS] = [2, 2, 24, 3];
/** Mean milliseconds between two steps of a buyer, and of an operator. */
const [BUYER_PAUSE_MS, OPERATOR_PAUSE_MS] = [130, 700];
const PROGRESS_EVERY_MS = 10_000;
/** ms between checks whether this process itself is frozen, and from when it counts. */
const STALL = { checkEveryMs: 50, fromMs: 400 };
/** ms of calm at the end: the longest grace, and a time without excuses. */
const CALM_MS = 14_000;

/** @throws if the system does not start, a target does not come back, or it is aborted */
export async function runChaos(options: ChaosOptions): Promise<RunReport> {
  const { say = () => {}, loseRedis = false, signal = new AbortController().signal, totalMs, faults } = options;
  const random = new Random(options.seed);
  const { terminalWithinMs = RULES.terminalWithinMs, distFolder, env = {} } = options;
  const rules = { ...RULES, requestTimeoutMs: REQUEST_TIMEOUT_MS, terminalWithinMs, redisMayLose: loseRedis };
  const auditor = new Auditor(
    rules,
    Array.from({ length: WORKERS }, (_, i) => `worker-${i + 1}`),
  );
  const kinds = [...USUAL_KINDS, ...(loseRedis ? (['lose_redis'] as const) : [])];
  const plan = faults
    ? { storms: [{ from: 0, until: totalMs }], faults }
    : planFaults({ random: random.fork('faults'), totalMs, apis: APIS, workers: WORKERS, kinds });
  const onExit = (name: string, how: string, wasReady: boolean): void =>
    auditor.exited(name, how, wasReady, performance.now());
  const system = new ChaosSystem({ apis: APIS, workers: WORKERS, distFolder, env, onExit, signal });
  let report: RunReport | undefined;
  try {
    await system.startAll();
    report = await run(options, { random, auditor, plan, system, signal });
    return report;
  } catch (error) {
    if (!signal.aborted) say(`The run itself failed. Logs: ${system.logFolder}`);
    throw error;
  } finally {
    await system.close();
    system.remove(!signal.aborted && (options.keepLogs === true || !report || !isClean(report)));
  }
}

interface Scene {
  readonly random: Random;
  readonly auditor: Auditor;
  readonly plan: Plan;
  readonly system: ChaosSystem;
  readonly signal: AbortSignal;
}

async function run(options: ChaosOptions, { random, auditor, plan, system, signal }: Scene): Promise<RunReport> {
  const { front = async (target: Target) => target, say = () => {} } = options;
  const client = new Client(ADMIN_TOKEN, auditor);
  const targets = await Promise.all(system.apis.map(front));
  const [closing, over] = [new AbortController(), new AbortController()];
  const stage: Stage = { targets, client, auditor, offers: [], stopped: AbortSignal.any([closing.signal, signal]) };
  const operators = new Operators(stage, random.fork('operators'), OPERATOR_PAUSE_MS);
  const timers = [watchForStalls(auditor.faults)];
  try {
    await operators.createFirstSales();
    const origin = performance.now();
    const storming = AbortSignal.any([over.signal, signal]);
    const runner = new FaultRunner(system, auditor.faults, origin, storming);
    const sayProgress = (): void =>
      say(
        `${((performance.now() - origin) / 1_000).toFixed(0)} s: ${client.calls} requests, ${auditor.tally.get('order 200 ok') ?? 0} ` +
          `accepted, ${runner.lines.length} faults, ${auditor.unfinished().length} orders unfinished, ${auditor.violations.length} violations`,
      );
    timers.push(setInterval(sayProgress, PROGRESS_EVERY_MS));
    const buyers = new Buyers(stage, random.fork('buyers'), BUYER_PAUSE_MS);
    const work = Promise.all([buyers.run(BUYERS), operators.run(OPERATORS)]);
    const faults = runner.run(plan.faults);
    faults.catch(() => over.abort());
    await pause((plan.storms.at(-1)?.until ?? 0) - (performance.now() - origin), storming);
    over.abort();
    signal.throwIfAborted();
    await faults;
    for (const proxy of system.proxies.values()) proxy.heal();
    const upAt = performance.now();
    const watching = awaitEnds(stage, random.fork('watch'), upAt, signal, upAt);
    await pause(options.calmMs ?? CALM_MS, signal);
    closing.abort();
    await Promise.all([work, watching]);
    const unfinished = await awaitEnds(stage, random.fork('ends'), upAt, signal);
    // Orders that no reply named must also end before the end is read.
    const saleIds = stage.offers.map(({ saleId }) => saleId);
    while (performance.now() < upAt + auditor.rules.terminalWithinMs && !(await nothingIsReserved(system, saleIds)))
      await sleep(250, undefined, { signal });
    signal.throwIfAborted();
    const endedAt = performance.now();
    for (const { id, acceptedAt } of unfinished) {
      const waited = ((endedAt - Math.max(acceptedAt, upAt)) / 1_000).toFixed(1);
      auditor.report('stuck', `order ${id} has not ended ${waited} s after everything was up`, endedAt, 0, id);
    }
    const end = checkEnd(auditor, await readEnd(system), endedAt);
    system.keepLog('faults.log', `${runner.lines.join('\n')}\n`);
    system.keepLog('violations.txt', `${auditor.violations.map((one) => JSON.stringify(one)).join('\n')}\n`);
    return {
      seconds: (endedAt - origin) / 1_000,
      calls: client.calls,
      tally: auditor.tally,
      faults: runner.counts,
      kills: runner.kills,
      skippedFaults: runner.skipped,
      acceptedOrders: [...auditor.orders.values()].filter((order) => order.acceptedAt < Infinity).length,
      end,
      violations: auditor.violations,
      evidence: evidenceOf(auditor, system.logFolder),
      audit: await auditViolations(system),
      logFolder: system.logFolder,
    };
  } finally {
    over.abort();
    closing.abort();
    for (const timer of timers) clearInterval(timer);
    client.close();
  }
}

/** While this process is frozen, no reply is in time. */
function watchForStalls(log: FaultLog): NodeJS.Timeout {
  let last = performance.now();
  return setInterval(() => {
    const now = performance.now();
    if (now - last > STALL.fromMs) log.begin('machine', 'stall', last)(now);
    last = now;
  }, STALL.checkEveryMs);
}
