/** The ledger behind PgBouncer in transaction mode: the order way, migrations, audit, doctor and recovery go through it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { connectPostgres, inTransaction } from '@flash-sale/core/ledger/connect-postgres.ts';
import { checkMigrated, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { readPostgres } from '@flash-sale/ops/doctor/postgres.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type PgBouncer, startPgBouncer } from '../support/pg-bouncer.ts';
import { sellThrough } from '../support/sell-through.ts';
import { openWorld, testServers, type World } from '../support/world.ts';

let folder = '';
let bouncer: PgBouncer;
let world: World;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-bouncer-'));
  [bouncer, world] = await Promise.all([
    startPgBouncer(folder, testServers().databaseUrl),
    openWorld(inject('template')),
  ]);
}, 60_000);
afterAll(async () => {
  await bouncer?.stop();
  await world?.close();
  rmSync(folder, { recursive: true, force: true });
});

test('[I2] [I11] a sale of 5,000 units whose Redis is emptied in its middle: confirmed, rebuilt, recovered and audited by way of it', async () => {
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  const redis = await startPrivateRedis({ folder: join(folder, 'redis-of-sale'), distFolder, restart: false });
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

test('a transaction has the bounds of its pool, and leaves none of them behind', async () => {
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

test('migrations go through one connection to the server, several processes at once, and leave no lock behind', async () => {
  const narrowFolder = mkdtempSync(join(tmpdir(), 'flash-sale-narrow-'));
  const narrow = await startPgBouncer(narrowFolder, world.databaseUrl, { poolSize: 1 });
  const name = `bounced_${Date.now()}`;
  await world.pool.query(`CREATE DATABASE ${name}`);
  const direct = new URL(world.databaseUrl);
  direct.pathname = `/${name}`;
  const url = narrow.by(direct.href);
  try {
    const done = await Promise.all([migrateLedger(url), migrateLedger(url), migrateLedger(url)]);
    expect(done.map((names) => names.length).sort()).toEqual([0, 0, done.flat().length]);
    await checkMigrated(url);
    const { rows } = await world.pool.query("SELECT count(*)::int AS locks FROM pg_locks WHERE locktype = 'advisory'");
    expect(rows[0].locks).toBe(0);
  } finally {
    await narrow.stop();
    rmSync(narrowFolder, { recursive: true, force: true });
    await world.pool.query(`DROP DATABASE ${name} WITH (FORCE)`);
  }
});

test('the doctor reads the server behind it; where it refuses what we ask for, the start says what to write', async () => {
  expect(await readPostgres(bouncer.by(world.databaseUrl), 5_000)).toMatchObject({ standby: false });
  const strict = mkdtempSync(join(tmpdir(), 'flash-sale-strict-'));
  const refusing = await startPgBouncer(strict, world.databaseUrl, { letPass: 'extra_float_digits' });
  try {
    await expect(checkPostgres(refusing.by(world.databaseUrl))).rejects.toThrow('ignore_startup_parameters =');
  } finally {
    await refusing.stop();
    rmSync(strict, { recursive: true, force: true });
  }
});
