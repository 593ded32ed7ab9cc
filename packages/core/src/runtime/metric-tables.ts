/**
 * Counts and distributions in plain tables, which the library reads when somebody asks: its own counting costs more than a refusal does.
 * Adding makes no object; what is told is made as it is asked for.
 */
import type { Metric, Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
  /** Where it is not the metric's own name: the parts of a histogram. */
  readonly metricName?: string;
}

export interface Described {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
}

/** Where metrics are told; `read` is called as somebody asks. */
export type Teller = ReturnType<typeof createTeller>;

export function createTeller(registry: Registry) {
  /** The library asks a metric for its samples, and for nothing else; it has no class for one whose numbers stand elsewhere. */
  function tell(described: Described, read: () => Sample[] | Promise<Sample[]>): void {
    const metric = { ...described, get: async () => ({ ...described, values: await read() }) };
    registry.registerMetric(metric as unknown as Metric);
  }
  return {
    tell,
    counter: (name: string, help: string, read: () => Sample[]): void => tell({ name, help, type: 'counter' }, read),
    gauge: (name: string, help: string, read: () => Sample[]): void => tell({ name, help, type: 'gauge' }, read),
    histogram: (name: string, help: string, read: () => { of: Distribution; labels: Labels }[]): void =>
      tell({ name, help, type: 'histogram' }, () => read().flatMap(({ of, labels }) => of.samples(name, labels))),
  };
}

export type Counts = ReturnType<typeof createCounts>;

/** How often each word was said. @param words as `expect` takes them */
export function createCounts(words: readonly string[] = []) {
  const counts = new Map<string, number>();
  /** Tells these from now on, with 0: of a word that comes out of nothing with its first thousand, Prometheus sees no rise. */
  function expect(words: readonly string[]): void {
    for (const word of words) counts.set(word, counts.get(word) ?? 0);
  }
  expect(words);
  return {
    expect,
    add: (word: string): void => void counts.set(word, (counts.get(word) ?? 0) + 1),
    samples: (label: string, others: Labels = {}): Sample[] =>
      Array.from(counts, ([word, value]) => ({ labels: { ...others, [label]: word }, value })),
  };
}

export type Distribution = ReturnType<typeof createDistribution>;

/** How many values were at most as large as each bound. @param bounds rising */
export function createDistribution(bounds: readonly number[]) {
  const buckets = new Float64Array(bounds.length + 1);
  let sum = 0;
  return {
    /** @param times how many of this value there are */
    add(value: number, times = 1): void {
      let i = 0;
      while (i < bounds.length && value > (bounds[i] as number)) i++;
      buckets[i] = (buckets[i] as number) + times;
      sum += value * times;
    },
    samples(name: string, labels: Labels): Sample[] {
      let count = 0;
      const rising = [...bounds.map(String), '+Inf'].map((le, i) => {
        count += buckets[i] as number;
        return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
      });
      return [
        ...rising,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ];
    },
  };
}
