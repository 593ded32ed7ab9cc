/** Everything lost in the middle of a sale, and restored by the documented commands. */
import { expect, test } from 'vitest';
import { drillRestore } from '../support/restore-drill.ts';

/** At this rate some seconds more than the backup takes on a machine that has other work, so that there is something left to lose. */
const UNITS = 1_200;

test.each(['both', 'ledger'] as const)(
  '[I2] [I3] [I11] lost (%s), restored from a backup of before: every accepted order is confirmed, not one unit more',
  async (lost) => {
    const report = await drillRestore({
      units: UNITS,
      ordersPerSecond: 200,
      lost,
      distFolder: process.env.TEST_REDIS_DIST,
    });
    // There was something to lose: orders that neither the ledger's backup nor what stands beside it had.
    expect(report.lostWithBackupAlone).toBeGreaterThan(0);
    expect(report).toMatchObject({ confirmed: UNITS, rejected: 0, lostInTheEnd: 0 });
    expect(report.audit).toContain('clean');
  },
  120_000,
);
