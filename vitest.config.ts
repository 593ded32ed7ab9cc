import { defineConfig } from 'vitest/config';

/** Tests of minutes, run by `npm run test:long` (vitest.long.config.ts). */
export const LONG_TESTS = ['tests/long/*.test.ts'];

export default defineConfig({
  test: {
    include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'tests/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...LONG_TESTS],
    globalSetup: ['tests/support/make-template.ts'],
    // Tests start and kill real processes; more files than cores at once would only wait for each other.
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
