import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'tests/**/*.test.ts'],
    // pnpm test:cluster (vitest.cluster.config.ts).
    exclude: ['**/node_modules/**', 'tests/scale-out/**'],
    globalSetup: ['tests/support/make-template.ts'],
    // Real processes are started and killed: more files at once than cores would only make them wait for each other.
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
