import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests of minutes, run by `npm run test:long` (vitest.long.config.ts). */
export const LONG_TESTS = ['tests/long/*.test.ts'];

/**
 * Order of the files. The longest starts first, beside many short ones. Chaos, which judges times,
 * comes later, so that it does not share the cores with processes that are killed by the dozen.
 */
const ORDER = [
  /system\/crash-points/,
  /tests\/(api|core|kubernetes|load|ops|tidy|worker)\/|packages\//,
  /system\/(crash-|half-dead|npm-start)/,
];

class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = ORDER.findIndex((pattern) => pattern.test(moduleId));
      return found < 0 ? ORDER.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...LONG_TESTS],
    globalSetup: ['tests/support/make-template.ts'],
    // Tests start and kill real processes: more files than cores would only wait for each other.
    maxWorkers: 3,
    // Each file owns its world (support/world.ts), so files can share a process and its modules.
    isolate: false,
    restoreMocks: true,
    sequence: { sequencer: InOrder },
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
