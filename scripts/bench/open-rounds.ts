/** Open loops: how long accepted orders take at a part of the capacity, and what becomes of a crowd that asks for more than that. */
import type { BenchSystem } from './bench-system.ts';
import { type OpenLoopResult, openLoop } from './open-loop.ts';
import { type Spread, spreadOf } from './spread.ts';

export interface OpenResult {
  /** Part of the capacity that was asked for. */
  readonly part: number;
  readonly perSecond: number;
  readonly p50: Spread;
  readonly p99: Spread;
  readonly bareP50: Spread;
  readonly bareP99: Spread;
  /** p99 divided by the bare server's of the same round. */
  readonly ratio: Spread;
  /** What the generator itself was late by, ms at the 99th percentile: it is in both p99, and so in the ratio. */
  readonly lateP99: Spread;
  /** CPU time of the generator, µs a request. */
  readonly generatorUs: Spread;
}

/** As many as wait for an answer at a time on a machine that keeps up; more only wait in front of the server. */
const CONNECTIONS = 200;

const WARM_UP_SECONDS = 0.5;

let runs = 0;

function ask(url: string, saleId: string, plan: { rate: number; seconds: number; connections: number }) {
  runs += 1;
  return openLoop({
    url,
    path: `/api/flash-sales/${saleId}/order`,
    run: `o${process.pid.toString(36)}${runs}`,
    warmUpSeconds: WARM_UP_SECONDS,
    ...plan,
  });
}

export async function openRounds(
  system: BenchSystem,
  options: { capacity: number; parts: readonly number[]; rounds: number; seconds: number },
): Promise<OpenResult[]> {
  const { capacity, parts, rounds, seconds } = options;
  const results: OpenResult[] = [];
  for (const part of parts) {
    const plan = { rate: Math.round(capacity * part), seconds, connections: CONNECTIONS };
    const [ours, bare]: [OpenLoopResult[], OpenLoopResult[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      bare.push(await ask(system.bareUrl, 'bench', plan));
      const saleId = await system.makeSale();
      ours.push(await ask(system.url, saleId, plan));
      await system.settled(saleId);
    }
    const p99 = (list: readonly OpenLoopResult[]): number[] => list.map(({ plannedMs }) => plannedMs.p99);
    const p50 = (list: readonly OpenLoopResult[]): number[] => list.map(({ plannedMs }) => plannedMs.p50);
    results.push({
      part,
      perSecond: plan.rate,
      p50: spreadOf(p50(ours)),
      p99: spreadOf(p99(ours)),
      bareP50: spreadOf(p50(bare)),
      bareP99: spreadOf(p99(bare)),
      ratio: spreadOf(p99(ours).map((ms, i) => ms / (p99(bare)[i] as number))),
      lateP99: spreadOf([...ours, ...bare].map(({ lateMs }) => lateMs.p99)),
      generatorUs: spreadOf([...ours, ...bare].map(({ cpuMs, sent }) => (cpuMs * 1_000) / sent)),
    });
  }
  return results;
}

export interface PressureResult {
  /** Requests a second that were asked for. */
  readonly asked: number;
  /** Accepted a second, and p99 of them in ms. */
  readonly accepted: Spread;
  readonly p99: Spread;
  /** The same with as many requests as the system can just answer: the best. */
  readonly best: Spread;
  readonly bestP99: Spread;
  readonly shed: Spread;
  readonly unanswered: number;
}

/** OVERLOAD_IN_FLIGHT of that system: as many as it answers in some 30 ms. */
export const PRESSURE_IN_FLIGHT = 400;

/** Twice the capacity, over more connections than may be answered at a time; in turns with a closed loop, which is the best there is. */
export async function pressureRounds(
  system: BenchSystem,
  { capacity, rounds, seconds }: { capacity: number; rounds: number; seconds: number },
): Promise<PressureResult> {
  const rate = Math.round(capacity * 2);
  const [best, bestP99, accepted, p99, shed]: [number[], number[], number[], number[], number[]] = [[], [], [], [], []];
  let unanswered = 0;
  for (let round = 0; round < rounds; round++) {
    for (const twice of [false, true]) {
      const saleId = await system.makeSale();
      const count = Math.round(capacity * seconds);
      const found = twice
        ? await ask(system.url, saleId, { rate, seconds, connections: 2_000 })
        : await openLoop({
            url: system.url,
            path: `/api/flash-sales/${saleId}/order`,
            run: `b${process.pid.toString(36)}${++runs}`,
            rate: null,
            count,
            seconds,
            connections: 200,
          });
      const ok = found.byStatus['200'] ?? 0;
      if (twice) accepted.push(found.inTime / seconds);
      else best.push(ok / (found.elapsedMs / 1_000));
      (twice ? p99 : bestP99).push(found.acceptedMs.p99);
      if (twice) {
        shed.push((found.byStatus['503'] ?? 0) / found.sent);
        unanswered += found.unanswered;
      }
      await system.settled(saleId);
    }
  }
  return {
    asked: rate,
    accepted: spreadOf(accepted),
    p99: spreadOf(p99),
    best: spreadOf(best),
    bestP99: spreadOf(bestP99),
    shed: spreadOf(shed),
    unanswered,
  };
}
