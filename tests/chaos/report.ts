/** What a run found. */
import type { Plan } from './faults.ts';
import type { EndCounts } from './judge-end.ts';
import type { Auditor, Lie } from './model.ts';

/** Closed after Redis was launched again: until the last "recovering", or until Redis was ended once more. */
export interface Closure {
  readonly closedMs: number;
  /** Of that, the last part: with Redis, PostgreSQL and one worker in order. */
  readonly inOrderMs: number;
  /** Redis ended again before it was seen to be open. */
  readonly cutShort: boolean;
}

export interface RunReport {
  readonly seed: string;
  readonly startedAt: Date;
  readonly seconds: number;
  readonly calls: number;
  /** Replies by "kind status word". */
  readonly tally: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, number>;
  readonly kills: number;
  readonly skippedFaults: number;
  /** Times that this process itself stood still, so that everybody's replies came late. */
  readonly stalls: number;
  readonly closures: readonly Closure[];
  readonly acceptedOrders: number;
  readonly end: EndCounts;
  readonly stuck: number;
  /** Milliseconds from "all parts are up" (or its acceptance) until the slowest acknowledged order was seen to have ended, after each storm. */
  readonly slowestMs: readonly number[];
  readonly lies: readonly Lie[];
  /** For each of the first lies: the order's history and its lines in the logs. */
  readonly evidence: readonly string[];
  /** Breaks that the project's own audit found. */
  readonly audit: readonly string[];
  readonly logFolder: string;
}

/** The five numbers that must be 0. */
export function outcomeOf(report: RunReport): Record<'oversold' | 'leaked' | 'lost' | 'stuck' | 'lies', number> {
  const { end, stuck, lies, audit } = report;
  return {
    oversold: end.oversold + lies.filter((lie) => lie.kind === 'oversold').length,
    leaked: end.leaked,
    lost: lies.filter((lie) => lie.kind === 'lost').length,
    stuck,
    lies: lies.filter((lie) => !['oversold', 'lost', 'stuck'].includes(lie.kind)).length + audit.length,
  };
}

export const isClean = (report: RunReport): boolean =>
  Object.values(outcomeOf(report)).every((count) => count === 0) && report.lies.length === 0;

/** A reply that said that the sale is being rebuilt. */
export interface Recovering {
  readonly saleId: string;
  readonly endedAt: number;
}

/** Sales that were made later are not counted: a new sale may say the same until its first inventory is there. */
export function closures({ weather, sales }: Auditor, recovering: readonly Recovering[]): Closure[] {
  const ends = weather.faults.filter((fault) => fault.part === 'redis' && ['kill', 'restart'].includes(fault.kind));
  return weather.redisStarts.map((startedAt) => {
    const endedAt = Math.min(...ends.map((fault) => fault.from).filter((from) => from > startedAt), Infinity);
    const told = recovering.filter(
      (reply) =>
        reply.endedAt > startedAt &&
        reply.endedAt < endedAt &&
        (sales.get(reply.saleId)?.madeUntil ?? Infinity) <= startedAt,
    );
    const last = Math.max(startedAt, ...told.map((reply) => reply.endedAt));
    const inOrder = Math.max(startedAt, weather.workingSince(last));
    return {
      closedMs: last - startedAt,
      inOrderMs: inOrder < last ? last - inOrder : 0,
      cutShort: last > startedAt && endedAt - last < 500,
    };
  });
}

/** After each storm, how long the slowest order took to be seen ended, once all parts were up. */
export function slowestAfterStorms(auditor: Auditor, plan: Plan, origin: number, upAt: number): number[] {
  return plan.storms.map((storm, i) => {
    const next = plan.storms[i + 1];
    const until = next ? origin + next.from : Infinity;
    const up = next
      ? Math.max(
          ...auditor.weather.faults.filter((fault) => fault.from < until).map((fault) => fault.until),
          origin + storm.until,
        )
      : upAt;
    let slowest = 0;
    for (const { acceptedAt, terminal } of auditor.orders.values()) {
      if (acceptedAt === Infinity || terminal === null || terminal.at < up || terminal.at > until) continue;
      slowest = Math.max(slowest, terminal.at - Math.max(acceptedAt, up));
    }
    return slowest;
  });
}

export function reportLines(report: RunReport): string[] {
  const { end, kills, faults, calls, seconds } = report;
  const total = [...faults.values()].reduce((sum, count) => sum + count, 0);
  const outcome = Object.entries(outcomeOf(report)).map(([name, count]) => `${count} ${name}`);
  return [
    `${calls.toLocaleString('en')} requests in ${seconds.toFixed(0)} s (${(calls / seconds).toFixed(0)} a second), ` +
      `${report.acceptedOrders.toLocaleString('en')} orders accepted, ${end.confirmedOrders.toLocaleString('en')} confirmed ` +
      `(${end.confirmedUnits.toLocaleString('en')} units)${end.gone > 0 ? `, ${end.gone} gone with an emptied Redis` : ''}`,
    `${total} faults, ${kills} of them SIGKILLs: ${list(faults)}` +
      `${report.skippedFaults > 0 ? `; ${report.skippedFaults} found their target down already` : ''}`,
    `replies: ${list(report.tally)}`,
    `closed after each start of Redis (of that with all in order that it takes): ${report.closures.map(closureText).join(', ') || '–'}`,
    `slowest order, from "all parts are up" to its end, after each storm: ${report.slowestMs.map(secondsText).join(', ')}`,
    ...(report.stalls > 0 ? [`this process itself stood still ${report.stalls} times`] : []),
    `audit: ${report.audit.length === 0 ? 'clean' : report.audit.join('; ')}`,
    outcome.join(', '),
  ];
}

const list = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([what, count]) => `${count} × ${what}`)
    .join(', ');

const secondsText = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const closureText = ({ closedMs, inOrderMs, cutShort }: Closure): string =>
  `${secondsText(closedMs)}${cutShort ? '+' : ''} (${secondsText(inOrderMs)})`;
