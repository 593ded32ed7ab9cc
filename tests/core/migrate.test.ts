/** Migrations: applied once, by one of several callers, whole or not at all. */
import { listApplied, listMigrations, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { runScript } from '../support/command.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let world: World;
let database: string;
let databaseUrl: string;
let client: pg.Client;

beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

beforeEach(async () => {
  const url = new URL(world.databaseUrl);
  database = `${url.pathname.slice(1)}_empty`;
  await world.pool.query(`CREATE DATABASE ${database} TEMPLATE template0`);
  url.pathname = `/${database}`;
  databaseUrl = url.href;
  client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
});
afterEach(async () => {
  await client.end();
  await world.pool.query(`DROP DATABASE ${database} WITH (FORCE)`);
});

test('several callers at once: one applies all migrations, the others none; later ones change nothing', async () => {
  const done = await Promise.all([1, 2, 3].map(() => migrateLedger(databaseUrl)));
  expect(done.filter((names) => names.length > 0)).toEqual([listMigrations()]);
  expect(await listApplied(client)).toEqual(listMigrations());
  expect(await migrateLedger(databaseUrl)).toEqual([]);
});

test('the command creates the demo sales once, if it is asked to and DEMO_SALES is on', async () => {
  const migrate = async (changed: Record<string, string>, ...options: string[]): Promise<string[]> => {
    const { code } = await runScript('migrate', options, { DATABASE_URL: databaseUrl, ...changed });
    expect(code).toBe(0);
    const { rows } = await client.query<{ id: string }>('SELECT id FROM sales ORDER BY id');
    return rows.map((row) => row.id);
  };
  expect(await migrate({ DEMO_SALES: 'on' })).toEqual([]);
  expect(await migrate({ NODE_ENV: 'production' }, '--demo-sales')).toEqual([]);
  const wanted = { NODE_ENV: 'production', DEMO_SALES: 'on' };
  expect(await migrate(wanted, '--demo-sales')).toEqual(['product1', 'product2']);
  expect(await migrate(wanted, '--demo-sales')).toEqual(['product1', 'product2']);
}, 20_000);

test('a ledger of an earlier version gets what a new one has, and its prices read as before', async () => {
  await migrateLedger(databaseUrl, () => {}, 1);
  const insert = (id: string, price: string) =>
    client.query(
      `INSERT INTO sales (id, name, original_price, flash_sale_price, currency, allotment, starts_at, ends_at)
       VALUES ($1, 'A', $2, $2, 'EUR', 1, now(), now() + interval '1 hour')`,
      [id, price],
    );
  await insert('shoe', '12.50');
  await expect(insert('shoe.38', '0.30'), 'an applied migration is never edited').rejects.toThrow('sales_id_check');
  await migrateLedger(databaseUrl);
  await insert('shoe.38', '0.30');
  const { rows } = await client.query('SELECT id, original_price::text, flash_sale_price::text FROM sales ORDER BY id');
  expect(rows.map(Object.values)).toEqual([
    ['shoe', '12.5', '12.5'],
    ['shoe.38', '0.30', '0.30'],
  ]);
});

test('a migration that fails says why, and has changed nothing', async () => {
  await client.query('CREATE TABLE operator_actions (id integer)');
  await expect(migrateLedger(databaseUrl)).rejects.toThrow(/"operator_actions" already exists/);
  const { rows } = await client.query("SELECT to_regclass('sales') AS sales");
  expect(rows).toEqual([{ sales: null }]);
  expect(await listApplied(client)).toEqual([]);
});

test('a caller waits while another one migrates, whatever the timeouts of the database', async () => {
  await client.query(`ALTER DATABASE ${database} SET statement_timeout = 100`);
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock(4708227)');
  const migrating = migrateLedger(databaseUrl);
  await eventually('it waits for the lock', 10_000, async () => {
    const waiting = await world.pool.query(
      "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'advisory' AND query_start < now() - interval '0.3 s'",
      [database],
    );
    return waiting.rowCount === 1;
  });
  await client.query('COMMIT');
  expect(await migrating).toEqual(listMigrations());
});
