import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests of minutes, run by `npm run test:long` (vitest.long.config.ts). */
export const LONG_TESTS = ['tests/long/*.test.ts'];

/** Files that take longest: started last, one would run alone while the other worker is idle. */
const SLOW = [/system\/(crash-|chaos|half-dead|npm-start)/, /\/(system|model)\//];

class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = SLOW.findIndex((pattern) => pattern.test(moduleId));
      return found < 0 ? SLOW.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...LONG_TESTS],
    globalSetup: ['tests/support/make-template.ts'],
    // Tests start and kill real processes; more files than cores at once would only wait for each other.
    maxWorkers: 2,
    sequence: { sequencer: SlowFirst },
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
