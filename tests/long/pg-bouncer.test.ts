/** The ledger behind PgBouncer in transaction mode: orders, migrations, audit, doctor. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { connectPostgres, inTransaction } from '@flash-sale/core/ledger/connect-postgres.ts';
import { checkMigrated, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { readPostgres } from '@flash-sale/ops/doctor/postgres.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { startOwnRedis, times, useFolder, useWorld } from '../support/fixtures.ts';
import { type PgBouncer, startPgBouncer } from '../support/pg-bouncer.ts';
import { sellThrough } from '../support/sell-through.ts';
import { testServers } from '../support/world.ts';

const folder = useFolder();
const world = useWorld();
let bouncer: PgBouncer;

beforeAll(async () => {
  bouncer = await startPgBouncer(folder.path, testServers().databaseUrl);
}, 60_000);
afterAll(() => bouncer.stop());

/** Runs `work` with a PgBouncer of other settings. */
async function withBouncer(
  settings: Parameters<typeof startPgBouncer>[2],
  work: (bouncer: PgBouncer) => Promise<void>,
): Promise<void> {
  const own = mkdtempSync(join(folder.path, 'own-'));
  const started = await startPgBouncer(own, world.databaseUrl, settings);
  await work(started).finally(() => started.stop());
}

test('[I2] [I11] a sale of 5,000 units whose Redis is emptied is confirmed, rebuilt, recovered and audited through it', async () => {
  const redis = await startOwnRedis(join(folder.path, 'redis-of-sale'));
  try {
    const end = await sellThrough({
      template: inject('template'),
      redisUrl: redis.url,
      ledgerBy: bouncer.by,
      units: 5_000,
      after: 2_000,
      happens: async ({ redis: inventory, struck }) => {
        await inventory.flushall();
        struck();
      },
    });
    expect(end.confirmed).toBeLessThanOrEqual(5_000);
    expect(end).toMatchObject({ forgotten: 0, faults: [] });
    expect(end.epoch).toBeGreaterThan(1);
  } finally {
    await redis.stop();
  }
});

test('a transaction has the timeouts of its pool, and leaves none behind', async () => {
  const url = bouncer.by(world.databaseUrl);
  const pool = connectPostgres({ url, size: 2, timeoutMs: 700, name: 'bounds', log: world.log });
  try {
    const bound = () => pool.query('SHOW statement_timeout').then(({ rows }) => rows[0].statement_timeout);
    await inTransaction(pool, null, async (client) => {
      expect((await client.query('SHOW statement_timeout')).rows[0].statement_timeout).toBe('700ms');
      await expect(client.query('SELECT pg_sleep(5)')).rejects.toMatchObject({ code: '57014' });
      throw new Error('over');
    }).catch((error: Error) => expect(error.message).toBe('over'));
    expect(await bound()).toBe('0');
  } finally {
    await pool.end();
  }
});

test('migrations of several processes go through one connection to the server, and leave no lock behind', async () => {
  const name = `bounced_${Date.now()}`;
  await world.pool.query(`CREATE DATABASE ${name}`);
  const direct = new URL(world.databaseUrl);
  direct.pathname = `/${name}`;
  await withBouncer({ poolSize: 1 }, async (narrow) => {
    const url = narrow.by(direct.href);
    const done = await times(3, () => migrateLedger(url));
    expect(done.map((names) => names.length).sort()).toEqual([0, 0, done.flat().length]);
    await checkMigrated(url);
    const { rows } = await world.pool.query("SELECT count(*)::int AS locks FROM pg_locks WHERE locktype = 'advisory'");
    expect(rows[0].locks).toBe(0);
  }).finally(() => world.pool.query(`DROP DATABASE ${name} WITH (FORCE)`));
});

test('the doctor reads the server behind it; if it refuses our parameters, the start says what to configure', async () => {
  expect(await readPostgres(bouncer.by(world.databaseUrl), 5_000)).toMatchObject({ writeFault: null });
  await withBouncer({ letPass: 'extra_float_digits' }, async (strict) => {
    await expect(checkPostgres(strict.by(world.databaseUrl))).rejects.toThrow('ignore_startup_parameters =');
  });
});
