/** Everything lost in the middle of a sale, and restored by the documented commands: pnpm drill:restore, on a smaller sale. */
import { expect, test } from 'vitest';
import { drillRestore } from '../restore-drill.ts';

test.each(['both', 'ledger'] as const)(
  '[I2] [I3] [I11] lost (%s), restored from a backup of before: every accepted order is confirmed, not one unit more',
  async (lost) => {
    const report = await drillRestore({
      units: 600,
      // Slow enough that something is left to sell after the backup, which takes seconds on a machine that does other things as well.
      ordersPerSecond: 75,
      lost,
      distFolder: process.env.TEST_REDIS_DIST,
    });
    // There was something to lose: orders that neither the ledger's backup nor what stands beside it had.
    expect(report.lostWithBackupAlone).toBeGreaterThan(0);
    expect(report).toMatchObject({ confirmed: 600, rejected: 0, lostInTheEnd: 0 });
    expect(report.audit).toContain('clean');
  },
  120_000,
);
