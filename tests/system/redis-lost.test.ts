/** Redis comes back as another: restarted, restored from an older file, failed over to a replica that lags, emptied. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { listFaults } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { expect, inject, test } from 'vitest';
import { type Loss, type LossReport, loseRedis } from '../support/redis-loss.ts';

const recoverOrders = fileURLToPath(new URL('../../scripts/recover-orders.ts', import.meta.url));

/** Types the documented command. @returns what it printed */
async function recover({ world, logFile }: LossReport): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [recoverOrders, logFile], {
    env: {
      PATH: process.env.PATH,
      REDIS_URL: world.redisUrl,
      DATABASE_URL: world.databaseUrl,
      KEY_PREFIX: world.prefix,
    },
  });
  return stdout;
}

async function statuses({ world, saleId }: LossReport): Promise<Map<string, string>> {
  const { rows } = await world.pool.query(
    'SELECT id, coalesce(reason, status) AS word FROM orders WHERE sale_id = $1',
    [saleId],
  );
  return new Map(rows.map((row) => [row.id, row.word]));
}

/** What must hold after any loss, once the command was typed. */
async function expectNothingUnaccountedFor(run: LossReport, units: number): Promise<Map<string, string>> {
  await run.settled();
  const printed = await recover(run);
  await run.settled();
  const found = await statuses(run);
  const lost = [...run.accepted].filter((id) => !found.has(id));
  expect(lost, printed).toEqual([]);
  const sold = [...found.values()].filter((word) => word === 'confirmed').length;
  expect(sold).toBeLessThanOrEqual(units);
  expect(run.epoch).toBeGreaterThan(1);
  // No worker needs longer than a look, a rebuild and some connections that are made again.
  expect(run.closedMs).toBeLessThan(15_000);
  const { world } = run;
  const audit = await auditSales({ redis: world.redis, pool: world.pool, keys: world.keys });
  expect(listFaults(audit)).toEqual([]);
  return found;
}

async function lossOf(
  loss: Loss,
  units: number,
  after: number,
  appendfsync: 'always' | 'everysec',
): Promise<LossReport> {
  const distFolder = process.env.TEST_REDIS_DIST;
  return loseRedis({ template: inject('template'), loss, units, after, appendfsync, distFolder });
}

test('[I2] [I11] FLUSHALL in a sale of 5,000 units with 2,500 confirmed: never more than 5,000 are, and the sale goes on', async () => {
  const run = await lossOf('flushall', 5_000, 2_500, 'everysec');
  try {
    const found = await expectNothingUnaccountedFor(run, 5_000);
    expect([...found.values()].filter((word) => word === 'confirmed')).toHaveLength(5_000);
    // Every accepted order that was lost ended in a true outcome.
    const words = new Set([...run.accepted].map((id) => found.get(id)));
    expect([...words].filter((word) => word !== 'confirmed' && word !== 'NO_ROOM_AFTER_LOSS')).toEqual([]);
  } finally {
    await run.close();
  }
}, 120_000);

test('[I3] [I11] killed and started again with `appendfsync always`: every accepted order is confirmed', async () => {
  const run = await lossOf('restart', 1_500, 500, 'always');
  try {
    const found = await expectNothingUnaccountedFor(run, 1_500);
    expect([...run.accepted].filter((id) => found.get(id) !== 'confirmed')).toEqual([]);
    expect([...found.values()].filter((word) => word !== 'confirmed')).toEqual([]);
  } finally {
    await run.close();
  }
}, 120_000);

test.each(['restored', 'failover'] as const)(
  '[I2] [I11] %s, a second behind: nothing is sold twice, no order is left without an end',
  async (loss) => {
    const run = await lossOf(loss, 1_500, 500, 'everysec');
    try {
      const found = await expectNothingUnaccountedFor(run, 1_500);
      const others = [...found.values()].filter(
        (word) => !['confirmed', 'NO_ROOM_AFTER_LOSS', 'OVER_CAP_AFTER_LOSS'].includes(word),
      );
      expect(others).toEqual([]);
    } finally {
      await run.close();
    }
  },
  120_000,
);
