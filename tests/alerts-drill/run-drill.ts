/**
 * Every alert of monitoring/, made to fire by the trouble that it is for, on real processes, and seen to end when that is over. Used by
 * pnpm drill:alerts.
 *   1. Everything is up and the crowd orders: nothing may fire.
 *   2. A trouble is made, and awaited until Prometheus says that its alerts fire.
 *   3. It is undone, and awaited until none of them fires any more.
 */

import type { AnyJson } from '../support/any-json.ts';
import { readRules } from '../support/prometheus.ts';
import { eventually } from '../support/world.ts';
import type { Trouble } from './trouble.ts';
import { troublesOfParts } from './troubles-of-parts.ts';
import { troublesOfSale } from './troubles-of-sale.ts';
import { openWatchedSystem, type WatchedSystem } from './watched-system.ts';

export const troubles: readonly Trouble[] = [...troublesOfSale, ...troublesOfParts];

/** Milliseconds for an alert to fire. The longest is the one of orders that are 30 s old. */
const FIRES_WITHIN_MS = 90_000;
/** Milliseconds for it to end, or for all to be quiet: the widest window of the rules is a minute, five times as fast. */
const ENDS_WITHIN_MS = 120_000;

export interface Fired {
  readonly alert: string;
  readonly what: string;
  /** From the trouble on; null: it did not. */
  readonly firedAfterS: number | null;
  /** From its end on; null: it went on firing. */
  readonly endedAfterS: number | null;
  /** Of the rule's expression, as it fired. */
  readonly value: string;
  /** What fired beside it, and is told of by another trouble. */
  readonly others: readonly string[];
  /** Why it did not fire or end, or could not be tried. */
  readonly fault: string | null;
}

/** Names of all alerts, in the order of their files. */
export function alertNames(): string[] {
  return readRules().flatMap(({ text }) => [...text.matchAll(/- alert: (\w+)/g)].map((match) => match[1] as string));
}

/** @param only an alert, or null for all of them. @throws where the system does not come up, or something fires though nothing is wrong */
export async function drillAlerts(options: {
  only: string | null;
  distFolder: string;
  say: (line: string) => void;
}): Promise<Fired[]> {
  const { only, distFolder, say } = options;
  const system = await openWatchedSystem(distFolder);
  try {
    await eventually('every rule was evaluated, and nothing fires', ENDS_WITHIN_MS, async () => {
      const rules = await system.prometheus.rules();
      return rules.every(({ health }) => health === 'ok') && (await firing(system)).size === 0;
    });
    say('All is well, and nothing fires.');
    const results: Fired[] = [];
    for (const trouble of troubles) {
      if (only !== null && !trouble.alerts.includes(only)) continue;
      say(`\n${trouble.what}`);
      results.push(...(await tryOne(system, trouble, say)));
    }
    return results;
  } finally {
    await system.close();
  }
}

async function tryOne(system: WatchedSystem, trouble: Trouble, say: (line: string) => void): Promise<Fired[]> {
  const { alerts, what } = trouble;
  const values = new Map<string, { firedAfterS: number; value: string }>();
  const ends = new Map<string, number>();
  const beside = new Set<string>();
  const faults = new Map<string, string>();
  const nowFiring = async (): Promise<Map<string, string>> => {
    const now = await firing(system);
    for (const name of now.keys()) if (!alerts.includes(name)) beside.add(name);
    return now;
  };
  try {
    await commit(system, trouble);
    const madeAt = performance.now();
    const undo = await trouble.make(system);
    try {
      await untilAll(FIRES_WITHIN_MS, 'fire', async () => {
        for (const [alert, value] of await nowFiring()) {
          if (!alerts.includes(alert) || values.has(alert)) continue;
          values.set(alert, { firedAfterS: secondsSince(madeAt), value });
          say(`${secondsSince(madeAt).toFixed(1).padStart(7)} s  ${alert} fires: ${value}`);
        }
        return alerts.filter((alert) => !values.has(alert));
      });
    } finally {
      await undo();
    }
    const undoneAt = performance.now();
    await untilAll(ENDS_WITHIN_MS, 'end', async () => {
      const now = await nowFiring();
      for (const alert of alerts) {
        if (now.has(alert) || ends.has(alert)) continue;
        ends.set(alert, secondsSince(undoneAt));
        say(`${secondsSince(undoneAt).toFixed(1).padStart(7)} s  ${alert} is over`);
      }
      return alerts.filter((alert) => !ends.has(alert));
    });
  } catch (error) {
    for (const alert of alerts) faults.set(alert, (error as Error).message);
    say(`FAULT: ${(error as Error).message}`);
    // What one trouble left behind must not hide the next.
    await Promise.all(Object.values(system.ways).map((way) => way.heal()));
  } finally {
    system.crowd.resume();
  }
  return alerts.map((alert) => ({
    alert,
    what,
    firedAfterS: values.get(alert)?.firedAfterS ?? null,
    endedAfterS: ends.get(alert) ?? null,
    value: values.get(alert)?.value ?? '',
    others: [...beside].sort(),
    fault: values.has(alert) && ends.has(alert) ? null : (faults.get(alert) ?? null),
  }));
}

/** Nothing of the trouble before is left, so that what fires is of this one. */
async function commit({ crowd, redis, keys, ...system }: WatchedSystem, trouble: Trouble): Promise<void> {
  if (trouble.withoutCrowd) {
    crowd.pause();
    await eventually('no order is under way', 30_000, async () => (await redis.hlen(keys.reservations)) === 0);
  }
  await eventually('nothing fires', ENDS_WITHIN_MS, async () => (await system.prometheus.alerts()).length === 0);
}

/** @throws with what is missing */
async function untilAll(withinMs: number, word: string, look: () => Promise<string[]>): Promise<void> {
  let missing: string[] = [];
  await eventually('', withinMs, async () => {
    missing = await look();
    return missing.length === 0;
  }).catch(() => {
    throw new Error(`did not ${word} within ${withinMs / 1_000} s: ${missing.join(', ')}`);
  });
}

/** By name: the value that it has. Of several of one name, the first one's. */
async function firing({ prometheus }: Pick<WatchedSystem, 'prometheus'>): Promise<Map<string, string>> {
  const alerts: AnyJson[] = await prometheus.alerts();
  return new Map(
    alerts
      .filter(({ state }) => state === 'firing')
      .map(({ labels, value }) => [labels.alertname, shown(value)] as const)
      .reverse(),
  );
}

/** Three digits are enough; Prometheus says "4e-01". */
function shown(value: string): string {
  const number = Number(value.replace('+Inf', 'Infinity'));
  return Number.isFinite(number) ? String(Number(number.toPrecision(3))) : 'infinite';
}

const secondsSince = (at: number): number => (performance.now() - at) / 1_000;
