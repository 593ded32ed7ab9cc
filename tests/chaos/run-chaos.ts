/**
 * One random run, put together.
 *   1. The system starts, the first sales are made.
 *   2. Buyers and operators work while the planned faults are brought over the parts.
 *   3. The last storm is over: all parts are up. They work on for a calm while, at whose end no fault excuses anything.
 *   4. They stop; every acknowledged order must have ended.
 *   5. The auditor reads ledger and inventory, and says what was a lie, oversold, leaked, lost or stuck.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { auditBreaks } from './ask-audit.ts';
import { FaultBringer } from './bring-faults.ts';
import { gatherEvidence } from './evidence.ts';
import { type Plan, type PlannedFault, planFaults, USUAL_KINDS } from './faults.ts';
import type { Call, Reply } from './history.ts';
import { judgeEnd } from './judge-end.ts';
import { Auditor } from './model.ts';
import { Operators } from './operators.ts';
import { ADMIN_TOKEN, Parts, REQUEST_TIMEOUT_MS } from './parts.ts';
import { readEnd, reservedUnits } from './read-end.ts';
import { RULES } from './reply-rules.ts';
import { closures, isClean, type Recovering, type RunReport, slowestAfterStorms } from './report.ts';
import { Random } from './seeded-random.ts';
import { Caller, type Target } from './send-call.ts';
import type { Weather } from './weather.ts';
import { awaitEnds, Buyers, type Stage } from './workload.ts';

export interface ChaosOptions {
  readonly seed: string;
  /** Milliseconds from the first fault until all faults are over. */
  readonly totalMs: number;
  /** Where a Redis from Debian's packages is kept. */
  readonly distFolder: string;
  readonly apis?: number;
  readonly workers?: number;
  readonly buyers?: number;
  /** Mean milliseconds between two steps of a buyer. */
  readonly buyerPauseMs?: number;
  /** Times all amounts of stock. */
  readonly scale?: number;
  /** Instead of the plan that the seed makes. */
  readonly faults?: readonly PlannedFault[];
  readonly loseRedis?: boolean;
  /** Milliseconds after the last fault in which they work on. */
  readonly calmMs?: number;
  readonly terminalWithinMs?: number;
  /** Over the settings of API and workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Puts something before an API: a test that breaks the system on purpose. */
  readonly front?: (target: Target) => Promise<Target>;
  /** The logs stay, also where nothing is wrong. */
  readonly keepLogs?: boolean;
  readonly signal?: AbortSignal;
  readonly say?: (line: string) => void;
}

const PROGRESS_EVERY_MS = 10_000;

/** Milliseconds between two looks at whether this process itself stands still: then everybody's replies are late. */
const LOOK_EVERY_MS = 50;
const STANDS_STILL_AFTER_MS = 400;

/** Milliseconds of calm at the end: the longest grace of a reply, and a while in which nothing is excused. */
const CALM_MS = 14_000;

/** @throws where the system could not be started, a part did not come back, or the signal was raised */
export async function runChaos(options: ChaosOptions): Promise<RunReport> {
  const { say = () => {}, loseRedis = false, signal = new AbortController().signal } = options;
  const random = new Random(options.seed);
  const [apis, workers] = [options.apis ?? 2, options.workers ?? 2];
  const rules = {
    ...RULES,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    terminalWithinMs: options.terminalWithinMs ?? RULES.terminalWithinMs,
    redisMayLose: loseRedis,
  };
  const auditor = new Auditor(
    rules,
    Array.from({ length: workers }, (_, i) => `worker-${i + 1}`),
  );
  const { totalMs, faults } = options;
  const kinds = [...USUAL_KINDS, ...(loseRedis ? (['lose_redis'] as const) : [])];
  const plan = faults
    ? { storms: [{ from: 0, until: totalMs }], faults }
    : planFaults({ random: random.fork('faults'), totalMs, apis, workers, kinds });
  const { distFolder, env = {} } = options;
  const onFall = (name: string, how: string, wasReady: boolean): void =>
    auditor.fell(name, how, wasReady, performance.now());
  const parts = new Parts({ apis, workers, distFolder, env, onFall, signal });
  let report: RunReport | undefined;
  try {
    await parts.start();
    report = await torment(options, { random, auditor, plan, parts, signal });
    return report;
  } catch (error) {
    if (!signal.aborted) say(`The run itself broke. Logs: ${parts.logFolder}`);
    throw error;
  } finally {
    await parts.close();
    if (signal.aborted || (report && isClean(report) && !options.keepLogs)) parts.remove();
    else parts.removeData();
  }
}

interface Scene {
  readonly random: Random;
  readonly auditor: Auditor;
  readonly plan: Plan;
  readonly parts: Parts;
  readonly signal: AbortSignal;
}

async function torment(options: ChaosOptions, scene: Scene): Promise<RunReport> {
  const { front = async (target: Target) => target, buyers = 24, buyerPauseMs = 130, scale = 1 } = options;
  const { random, auditor, plan, parts, signal } = scene;
  const recovering: Recovering[] = [];
  const caller = new Caller(ADMIN_TOKEN, {
    begun: (call: Call) => auditor.begun(call),
    ended: (call: Call, reply: Reply) => {
      auditor.ended(call, reply);
      if (reply.body.code !== 'SALE_RECOVERING' || !('saleId' in call.asked)) return;
      recovering.push({ saleId: call.asked.saleId, endedAt: reply.endedAt });
    },
  });
  const targets = await Promise.all(parts.apis.map(front));
  const closing = new AbortController();
  const over = new AbortController();
  const stage: Stage = { targets, caller, auditor, offers: [], stopped: AbortSignal.any([closing.signal, signal]) };
  const operators = new Operators(stage, random.fork('operators'), scale, 700);
  const timers: NodeJS.Timeout[] = [watchOurselves(auditor.weather)];
  try {
    await operators.makeFirstSales();
    const startedAt = new Date();
    const origin = performance.now();
    const storming = AbortSignal.any([over.signal, signal]);
    const bringer = new FaultBringer(parts, auditor.weather, origin, storming);
    timers.push(sayProgress(options, auditor, caller, bringer, origin));
    const work = Promise.all([new Buyers(stage, random.fork('buyers'), buyerPauseMs).run(buyers), operators.run(3)]);
    const bringing = bringer.run(plan.faults);
    bringing.catch(() => over.abort());
    await rest((plan.storms.at(-1)?.until ?? 0) - (performance.now() - origin), storming);
    over.abort();
    signal.throwIfAborted();
    await bringing;
    await Promise.all([...parts.ways.values()].map((way) => way.heal()));
    const upAt = performance.now();
    const watching = awaitEnds(stage, random.fork('watch'), upAt, signal, upAt);
    await rest(options.calmMs ?? CALM_MS, signal);
    closing.abort();
    await Promise.all([work, watching]);
    const open = await awaitEnds(stage, random.fork('ends'), upAt, signal);
    const saleIds = stage.offers.map((offer) => offer.saleId);
    await untilNothingIsReserved(parts, saleIds, upAt + auditor.rules.terminalWithinMs, signal);
    signal.throwIfAborted();
    const endedAt = performance.now();
    for (const order of open) {
      const waited = ((endedAt - Math.max(order.acceptedAt, upAt)) / 1_000).toFixed(1);
      auditor.accuse(
        'stuck',
        `order ${order.id} has not ended ${waited} s after all parts were up`,
        endedAt,
        0,
        order.id,
      );
    }
    const end = judgeEnd(auditor, await readEnd(parts), endedAt);
    parts.keep('faults.log', `${bringer.lines.join('\n')}\n`);
    return {
      seed: options.seed,
      startedAt,
      seconds: (endedAt - origin) / 1_000,
      calls: caller.calls,
      tally: auditor.tally,
      faults: bringer.counts,
      kills: bringer.kills,
      skippedFaults: bringer.skipped,
      stalls: auditor.weather.faults.filter((fault) => fault.part === 'machine').length,
      closures: closures(auditor, recovering),
      acceptedOrders: [...auditor.orders.values()].filter((order) => order.acceptedAt < Infinity).length,
      end,
      stuck: auditor.lies.filter((lie) => lie.kind === 'stuck').length,
      slowestMs: slowestAfterStorms(auditor, plan, origin, upAt),
      lies: auditor.lies,
      evidence: gatherEvidence(auditor, parts),
      audit: await auditBreaks(parts),
      logFolder: parts.logFolder,
    };
  } finally {
    over.abort();
    closing.abort();
    for (const timer of timers) clearInterval(timer);
    caller.close();
  }
}

/** Where this process stands still, nobody's reply is in time. */
function watchOurselves(weather: Weather): NodeJS.Timeout {
  let last = performance.now();
  return setInterval(() => {
    const now = performance.now();
    if (now - last > STANDS_STILL_AFTER_MS) weather.begin('machine', 'stall', last)(now);
    last = now;
  }, LOOK_EVERY_MS);
}

function sayProgress(
  { say = () => {} }: ChaosOptions,
  auditor: Auditor,
  caller: Caller,
  bringer: FaultBringer,
  origin: number,
): NodeJS.Timeout {
  return setInterval(() => {
    const seconds = ((performance.now() - origin) / 1_000).toFixed(0).padStart(4);
    const accepted = auditor.tally.get('order 200 ok') ?? 0;
    say(
      `${seconds} s: ${caller.calls} requests, ${accepted} accepted, ${bringer.total} faults, ${bringer.kills} kills, ` +
        `${auditor.unfinished().length} orders under way, ${auditor.lies.length} lies so far`,
    );
  }, PROGRESS_EVERY_MS);
}

/** Orders that nobody was told of must end as well, before the end is read. */
async function untilNothingIsReserved(
  parts: Parts,
  saleIds: readonly string[],
  deadline: number,
  signal: AbortSignal,
): Promise<void> {
  while (performance.now() < deadline && !signal.aborted) {
    if ((await reservedUnits(parts, saleIds)) === 0) return;
    await rest(250, signal);
  }
}

/** Ends early, and without complaint, when the signal is raised. */
async function rest(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal }).catch(() => {});
}
