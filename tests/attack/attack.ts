/** What an attack is: one thing that is tried, bounded, with what must hold. A family of them has a file of its own. */
import type { Target } from './target.ts';

interface Attack {
  /** What is tried. */
  readonly name: string;
  /** How much of it, at the most: counts, bytes, seconds. */
  readonly bound: string;
  /** What must hold, beside what is looked at after every attack (target.ts). */
  readonly holds: string;
  /**
   * @returns what came of it, in a few words
   * @throws BrokenError
   */
  run(target: Target): Promise<string>;
}

export interface Family {
  readonly name: string;
  readonly attacks: readonly Attack[];
}

/** Something did not hold. The message says what was seen instead. */
class BrokenError extends Error {
  override name = 'BrokenError';
}

/** @throws BrokenError */
export function mustHold(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new BrokenError(otherwise);
}

/** How often each value was seen: "401 × 200, 429 × 12". */
export function tally(values: Iterable<string | number>): string {
  const counts = new Map<string | number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => String(a).localeCompare(String(b)))
    .map(([value, count]) => `${value} × ${count}`)
    .join(', ');
}

/** @throws BrokenError where a value is none of those that may be */
export function onlyThese(values: readonly (string | number)[], may: readonly (string | number)[]): void {
  mustHold(values.length > 0, 'nobody was answered');
  const others = values.filter((value) => !may.includes(value));
  mustHold(others.length === 0, `told ${tally(others)}, where only ${may.join(', ')} may be`);
}

/** Works on a list with so many at a time. */
export async function inParallel<T, R>(
  list: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(list.length);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < list.length; i = next++) results[i] = await work(list[i] as T, i);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}

export const times = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
