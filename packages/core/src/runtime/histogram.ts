/**
 * A histogram whose series are looked up once, not at each observation as prom-client does: that
 * took 1.3 of the 45 µs of a refusal.
 */
import type { Metric, Registry } from 'prom-client';

export interface HistogramOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, ascending, without +Inf. */
  readonly buckets: readonly number[];
  readonly registry: Registry;
}

/** @returns a function that finds or adds a series, and returns its `observe` */
export function createHistogram({ name, help, buckets, registry }: HistogramOptions) {
  const bounds = [...buckets, Number.POSITIVE_INFINITY];
  const all = new Map<string, { labels: Record<string, string>; counts: number[]; sum: number }>();

  function values() {
    return [...all.values()].flatMap(({ labels, counts, sum }) => {
      let count = 0;
      const ofBuckets = bounds.map((bound, i) => {
        count += counts[i] as number;
        const le = bound === Number.POSITIVE_INFINITY ? '+Inf' : bound;
        return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count };
      });
      return [
        ...ofBuckets,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ];
    });
  }

  function reset(): void {
    for (const one of all.values()) {
      one.counts.fill(0);
      one.sum = 0;
    }
  }

  const get = async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: values() });
  registry.registerMetric({ name, get, getForPromString: get, reset } as unknown as Metric);

  return function series(labels: Record<string, string>): (value: number) => void {
    const key = JSON.stringify(labels);
    const one = all.get(key) ?? { labels, counts: bounds.map(() => 0), sum: 0 };
    all.set(key, one);
    return (value) => {
      let i = 0;
      while (value > (bounds[i] as number)) i += 1;
      one.counts[i] = (one.counts[i] as number) + 1;
      one.sum += value;
    };
  };
}
