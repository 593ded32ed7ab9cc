import { defineConfig } from 'vitest/config';

/** pnpm test:cluster: engines of several servers, each test with one of its own. Minutes, not seconds: no part of `npm test`. */
export default defineConfig({
  test: {
    include: ['tests/scale-out/*.test.ts'],
    globalSetup: ['tests/support/make-template.ts'],
    // Each is ten processes by itself, and measures time.
    maxWorkers: 1,
    testTimeout: 180_000,
    hookTimeout: 60_000,
  },
});
