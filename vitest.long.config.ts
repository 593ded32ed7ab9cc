import { defineConfig } from 'vitest/config';
import { LONG_TESTS } from './vitest.config.ts';

/** npm run test:long: what takes minutes. Not part of `npm test`. */
export default defineConfig({
  test: {
    include: LONG_TESTS,
    globalSetup: ['tests/support/make-template.ts'],
    // Each test starts ten processes and measures time.
    maxWorkers: 1,
    testTimeout: 180_000,
    hookTimeout: 60_000,
  },
});
