/** Long random runs, each from a fresh seed. `npm run test:chaos` repeats a seed. */
import { expect, test } from 'vitest';
import { isClean, reportLines } from '../chaos/report.ts';
import { runChaos } from '../chaos/run-chaos.ts';
import { freshSeed } from '../chaos/seeded-random.ts';

const MINUTES = 5;
const distFolder = process.env.TEST_REDIS_DIST ?? '';

test.each([false, true])(
  'five minutes of random faults, Redis emptied: %s',
  async (loseRedis) => {
    const seed = freshSeed();
    const report = await runChaos({ seed, totalMs: MINUTES * 60_000, distFolder, loseRedis });
    const command = `npm run test:chaos -- --seed ${seed} --minutes ${MINUTES}${loseRedis ? ' --lose-redis' : ''}`;
    expect(isClean(report), [command, ...reportLines(report), ...report.evidence].join('\n')).toBe(true);
  },
  (MINUTES + 5) * 60_000,
);
