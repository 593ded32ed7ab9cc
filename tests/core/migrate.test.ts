/** A ledger that is in use is brought up to date: what is in it stays, and where that cannot be, nothing has changed. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { listCarriedOut, listMigrations, migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { eventually, openWorld, type World } from '../support/world.ts';

const SALES = ['tea', 'tea-01', 'Tea_2'];
const ORDERS_A_SALE = 200;

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
  database = `${url.pathname.slice(1)}_old`;
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

/** As the first release wrote them: only its columns. */
async function fill(): Promise<void> {
  for (const sale of SALES) {
    await client.query(
      `INSERT INTO sales (id, name, original_price, flash_sale_price, currency, allotment, sold, starts_at, ends_at)
       VALUES ($1, 'A sale', 200, 100, 'EUR', 1000, $2, now() - interval '1 h', now() + interval '1 h')`,
      [sale, ORDERS_A_SALE / 2],
    );
    const ids = Array.from({ length: ORDERS_A_SALE }, () => newOrderId(sale));
    await client.query(
      `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, reason, request_id, idempotency_key, created_at)
       SELECT id, $1, 'buyer-' || n, 1, 100, 100, 'EUR',
              CASE WHEN n % 2 = 0 THEN 'confirmed' ELSE 'rejected' END, CASE WHEN n % 2 = 0 THEN NULL ELSE 'SOLD_OUT' END,
              'req', 'key-' || n, now()
       FROM unnest($2::text[]) WITH ORDINALITY AS t (id, n)`,
      [sale, ids],
    );
  }
}

/** Every row in the columns that the first release has. */
async function rows(): Promise<{ orders: unknown[]; sales: unknown[] }> {
  const orders = await client.query(
    `SELECT id, sale_id, buyer_id, quantity, amount, status, reason, idempotency_key, created_at FROM orders ORDER BY sale_id, buyer_id`,
  );
  const sales = await client.query('SELECT id, allotment, sold, version, inventory_version FROM sales ORDER BY id');
  return { orders: orders.rows, sales: sales.rows };
}

test.each(
  listMigrations()
    .slice(0, -1)
    .map((name, index) => [name, index + 1] as const),
)(
  'from %s: every row is there afterwards, and each sale has its own orders',
  async (_, had) => {
    await migrateLedger(databaseUrl, undefined, had);
    await fill();
    const before = await rows();
    expect(await migrateLedger(databaseUrl)).toEqual(listMigrations().slice(had));
    expect(await rows()).toEqual(before);

    const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
    try {
      const orders = createOrderStore(pool);
      for (const { id, status } of before.orders as { id: string; status: string }[])
        expect(await orders.find(id)).toMatchObject({ id, status });
    } finally {
      await pool.end();
    }
  },
  60_000,
);

test('an order that does not belong where it is: the migration says which rule it breaks, and has changed nothing', async () => {
  await migrateLedger(databaseUrl, undefined, 2);
  await fill();
  await client.query(
    `UPDATE orders SET sale_id = 'Tea_2', idempotency_key = NULL WHERE id = (SELECT min(id) FROM orders WHERE sale_id = 'tea')`,
  );
  const before = await rows();
  await expect(migrateLedger(databaseUrl)).rejects.toThrow(/orders_id_of_sale/);
  expect(await rows()).toEqual(before);
  expect(await listCarriedOut(client)).toEqual(listMigrations().slice(0, 2));
});

test('somebody reads for long: the migration fails within seconds instead of holding everybody up, and can be typed again', async () => {
  await migrateLedger(databaseUrl, undefined, 2);
  await fill();
  await client.query('BEGIN');
  await client.query('SELECT count(*) FROM orders');
  await expect(migrateLedger(databaseUrl)).rejects.toThrow(/lock timeout/);
  await client.query('COMMIT');
  expect(await migrateLedger(databaseUrl)).toEqual(listMigrations().slice(2));
}, 30_000);

test('several at once: one carries out all of them, the others none', async () => {
  const done = await Promise.all([1, 2, 3].map(() => migrateLedger(databaseUrl)));
  expect(done.filter((names) => names.length > 0)).toEqual([listMigrations()]);
  expect(await listCarriedOut(client)).toEqual(listMigrations());
});

test('while another one has the lock it waits without a transaction of its own, and then works', async () => {
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock(7241865325823964)');
  const migrating = migrateLedger(databaseUrl);
  await eventually('it has tried, and waits outside of a transaction', 10_000, async () => {
    const { rows } = await world.pool.query(
      "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND state = 'idle' AND query = 'ROLLBACK'",
      [database],
    );
    return rows.length === 1;
  });
  await client.query('COMMIT');
  expect(await migrating).toEqual(listMigrations());
});
