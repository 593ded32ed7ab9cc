import { Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { createHistogram } from './histogram.ts';

const base = { name: 'seconds', help: 'Time.', buckets: [0.1, 1] };

test('a scrape shows what prom-client shows; the same labels are one series', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  const series = createHistogram({ ...base, registry: ours });
  const histogram = new Histogram({ ...base, labelNames: ['route'], registers: [theirs] });
  for (const [route, value] of [
    ['a', 0.05],
    ['a', 0.1],
    ['b', 0.5],
    ['a', 3],
  ] as const) {
    series({ route })(value);
    histogram.observe({ route }, value);
  }
  expect(await ours.metrics()).toBe(await theirs.metrics());
  expect(await ours.metrics()).toContain('seconds_bucket{le="+Inf",route="a"} 3');
});
