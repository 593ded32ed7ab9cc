/** Backup and restore of the ledger: complete and of one instant, or not at all. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { type AcceptedOrder, newOrderId } from '@flash-sale/core/domain/order.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { readAccepted } from '@flash-sale/core/runtime/accepted-log.ts';
import { backUpLedger, removeUnfinished } from '@flash-sale/ops/backup/back-up-ledger.ts';
import { COPY_STATEMENT_MS } from '@flash-sale/ops/backup/ledger-tables.ts';
import { type Manifest, MISSING_ORDERS_FILE } from '@flash-sale/ops/backup/manifest.ts';
import { afterRestore, BackupUnfitError, type Restored, restoreLedger } from '@flash-sale/ops/backup/restore-ledger.ts';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { PlantedSale } from '../../support/planted-sale.ts';
import { makeSale } from '../../support/sales.ts';
import { eventually, openWorld, type World } from '../../support/world.ts';

let world: World;
let sale: PlantedSale;
let folder: string;
const targets: pg.Pool[] = [];
let names = 0;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  sale = await PlantedSale.make(world, { description: 'a\ttab, a \\ and a \\N\nin two lines', perBuyerLimit: 3 });
  await sale.beginChange('more', 5);
  await PlantedSale.insertOnly(createSaleStore(world.pool), 'over');
  await world.pool.query(
    `UPDATE sales SET starts_at = now() - interval '2 h', ends_at = now() - interval '1 h' WHERE id = 'over'`,
  );
});
afterAll(() => world.close());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-backup-'));
});
afterEach(async () => {
  for (const pool of targets.splice(0)) {
    const { database } = pool.options;
    await pool.end();
    await world.pool.query(`DROP DATABASE ${database} WITH (FORCE)`);
  }
  rmSync(folder, { recursive: true, force: true });
});

/** A database without tables. */
async function emptyDatabase(): Promise<{ databaseUrl: string; pool: pg.Pool }> {
  names += 1;
  const database = `${new URL(world.databaseUrl).pathname.slice(1)}_${names}`;
  await world.pool.query(`CREATE DATABASE ${database} TEMPLATE template0`);
  const url = new URL(world.databaseUrl);
  url.pathname = `/${database}`;
  const pool = new pg.Pool({ connectionString: url.href, database, max: 2 });
  pool.on('error', () => {});
  targets.push(pool);
  return { databaseUrl: url.href, pool };
}

const backup = (name = 'backup'): string => join(folder, name);

function backUp(name?: string, accepted: Parameters<typeof backUpLedger>[0]['accepted'] = null): Promise<Manifest> {
  return backUpLedger({ databaseUrl: world.databaseUrl, folder: backup(name), accepted });
}

function changeManifest(change: (manifest: Manifest) => object): void {
  const path = join(backup(), 'manifest.json');
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Manifest)));
}

function changeTable(name: string, changed: Partial<Manifest['tables'][number]>): void {
  changeManifest((all) => ({
    ...all,
    tables: all.tables.map((one) => (one.name === name ? { ...one, ...changed } : one)),
  }));
}

async function rowsOf(pool: pg.Pool, table: string): Promise<string[]> {
  const { rows } = await pool.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t ORDER BY 1`);
  return rows.map(({ row }) => row);
}

/** @returns the sentence with which it was refused */
async function refusal(restoring: Promise<Restored>): Promise<string> {
  const error = await restoring.then(
    () => null,
    (fault: unknown) => fault,
  );
  expect(error).toBeInstanceOf(BackupUnfitError);
  return (error as Error).message;
}

function accepted(id: string, buyerId = 'eve', quantity = 1): AcceptedOrder {
  return { id, buyerId, quantity, reservedAt: 1_800_000_000_000, requestId: 'r', idempotencyKey: 'key' };
}

/** Of a minute ago at the most. */
function isSecondsSince2026(epoch: number): boolean {
  const now = (Date.now() - Date.UTC(2026)) / 1_000;
  return Number.isInteger(epoch) && epoch <= now + 1 && epoch > now - 60;
}

test('every row comes back as it was; every epoch is raised, and what is not over is paused', async () => {
  const manifest = await backUp();
  const { databaseUrl, pool } = await emptyDatabase();
  const { paused } = await restoreLedger({ databaseUrl, folder: backup() });
  expect(paused).toEqual([sale.id]);
  for (const table of ['orders', 'stock_changes']) {
    const rows = await rowsOf(world.pool, table);
    expect(rows.length).toBeGreaterThan(0);
    expect(await rowsOf(pool, table)).toEqual(rows);
    expect(manifest.tables.find((one) => one.table === table)?.rows).toBe(rows.length);
  }
  const settings =
    'id, name, description, allotment, sold, per_buyer_limit, starts_at, ends_at, inventory_version, created_at';
  const sales = `SELECT ${settings}, epoch, paused, version FROM sales ORDER BY id`;
  const { rows: before } = await world.pool.query(sales);
  const raised = before.map((row) => ({ ...row, epoch: expect.toSatisfy(isSecondsSince2026) }));
  const expected = raised.map((row) => (row.id === sale.id ? { ...row, paused: true, version: row.version + 1 } : row));
  expect((await pool.query(sales)).rows).toEqual(expected);
  // New rows get numbers above the restored ones.
  const { rows: actions } = await pool.query('SELECT actor, action, id FROM operator_actions ORDER BY id DESC LIMIT 2');
  expect(actions[0]).toMatchObject({ actor: 'restore', action: 'pause' });
  expect(actions[1]).toMatchObject({ actor: 'test', action: 'create' });
  expect(Number(actions[0].id)).toBe(Number(actions[1].id) + 1);
});

test('a backup is of one instant while orders are confirmed', async () => {
  const busy = await makeSale(world, { units: 100_000 });
  const orders = createOrderStore(world.pool);
  let confirming = true;
  const batch = () => Array.from({ length: 20 }, () => ({ ...accepted(newOrderId(busy.id)), idempotencyKey: null }));
  const confirm = async (): Promise<void> => {
    while (confirming) await orders.confirm({ saleId: busy.id, epoch: 1, orders: batch() }, async () => new Map());
  };
  const confirmers = [confirm(), confirm()];
  const sold = async (): Promise<number> =>
    (await world.pool.query('SELECT sold FROM sales WHERE id = $1', [busy.id])).rows[0].sold;
  await eventually('500 orders are confirmed', 30_000, async () => (await sold()) >= 500);
  await backUp();
  const after = await sold();
  confirming = false;
  await Promise.all(confirmers);
  const { databaseUrl, pool } = await emptyDatabase();
  await restoreLedger({ databaseUrl, folder: backup() });
  const { rows } = await pool.query(
    `SELECT sold, (SELECT sum(quantity)::int FROM orders WHERE sale_id = s.id AND status = 'confirmed') AS held FROM sales s WHERE id = $1`,
    [busy.id],
  );
  expect(rows[0].sold).toBe(rows[0].held);
  expect(rows[0].sold).toBeGreaterThanOrEqual(500);
  expect(rows[0].sold).toBeLessThanOrEqual(after);
});

test('accepted orders that the ledger does not have are in the backup, and no others', async () => {
  const missing = accepted(newOrderId(sale.id));
  async function* log() {
    yield [
      { saleId: sale.id, order: accepted(sale.confirmed, 'ann') },
      { saleId: sale.id, order: missing },
    ];
    yield [{ saleId: sale.id, order: accepted(sale.rejected, 'dee') }];
  }
  expect((await backUp('backup', log())).missingOrders?.orders).toBe(1);
  const lines = gunzipSync(readFileSync(join(backup(), MISSING_ORDERS_FILE)))
    .toString()
    .trimEnd()
    .split('\n');
  expect(lines.map(readAccepted)).toEqual([{ saleId: sale.id, order: missing }]);
});

test('a backup that fails leaves nothing behind, and the next one works', async () => {
  async function* cutOff() {
    yield [{ saleId: sale.id, order: accepted(newOrderId(sale.id)) }];
    throw new Error('the log cannot be read');
  }
  await expect(backUp('backup', cutOff())).rejects.toThrow('the log cannot be read');
  expect(readdirSync(folder)).toEqual([]);
  const { databaseUrl } = await emptyDatabase();
  await backUp('next');
  await restoreLedger({ databaseUrl, folder: backup('next') });
});

test('what a killed backup left is removed once it cannot be running any more; nothing else is', () => {
  const [dead, running] = ['2026-11-24T18-40-01.000Z.unfinished', '2026-11-24T18-50-01.000Z.unfinished'].map(backup);
  const others = ['2026-11-24T18-30-01.000Z', 'mine.unfinished'].map(backup);
  const old = new Date(Date.now() - 2 * COPY_STATEMENT_MS);
  for (const one of [dead, running, ...others] as string[]) {
    mkdirSync(one);
    writeFileSync(join(one, 'orders.copy.gz'), '');
    for (const path of [join(one, 'orders.copy.gz'), one]) utimesSync(path, old, old);
  }
  // The folder is old, its last file is not.
  utimesSync(join(running as string, 'orders.copy.gz'), new Date(), new Date());
  expect(removeUnfinished(folder)).toEqual([dead]);
  expect(readdirSync(folder).map(backup).sort()).toEqual([running, ...others].sort());
});

test.each<[string, (folder: string, manifest: Manifest) => void, RegExp]>([
  [
    'a byte changed',
    (at) => {
      const bytes = readFileSync(join(at, 'orders.copy.gz'));
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
      writeFileSync(join(at, 'orders.copy.gz'), bytes);
    },
    /orders\.copy\.gz is damaged/,
  ],
  [
    'cut short',
    (at) => writeFileSync(join(at, 'sales.copy.gz'), readFileSync(join(at, 'sales.copy.gz')).subarray(0, -1)),
    /sales\.copy\.gz is damaged/,
  ],
  ['a file gone', (at) => rmSync(join(at, 'stock_changes.copy.gz')), /stock_changes\.copy\.gz cannot be read \(ENOENT/],
  ['no manifest', (at) => rmSync(join(at, 'manifest.json')), /not a backup, or one that was not finished/],
  ['half a manifest', (at) => writeFileSync(join(at, 'manifest.json'), '{"at": '), /is not a manifest/],
  ['another manifest', (at) => writeFileSync(join(at, 'manifest.json'), '{"at": 1}'), /is not a manifest/],
  ['a file outside of the folder', () => changeTable('orders.copy.gz', { name: '../orders' }), /is not a manifest/],
  ['other columns', () => changeTable('orders.copy.gz', { columns: ['id'] }), /different tables: orders \(id\)/],
  [
    'migrations of a later version',
    () => changeManifest((all) => ({ ...all, migrations: [...all.migrations, '1999999999999_later'] })),
    /migrations that this version does not know \(1999999999999_later\)/,
  ],
])('refused, and nothing is changed: %s', async (_, damage, sentence) => {
  damage(backup(), await backUp());
  const { databaseUrl, pool } = await emptyDatabase();
  expect(await refusal(restoreLedger({ databaseUrl, folder: backup() }))).toMatch(sentence);
  // Tables may have been created; rows were not.
  const { rows } = await pool.query(`SELECT to_regclass('sales') AS sales`);
  if (rows[0].sales !== null) expect(await rowsOf(pool, 'sales')).toEqual([]);
});

test('only an empty database is filled; rows and tables of others stay as they are', async () => {
  await backUp();
  const rows = await rowsOf(world.pool, 'sales');
  expect(await refusal(restoreLedger({ databaseUrl: world.databaseUrl, folder: backup() }))).toContain('is not empty');
  expect(await rowsOf(world.pool, 'sales')).toEqual(rows);
  const { databaseUrl, pool } = await emptyDatabase();
  await pool.query('CREATE TABLE letters (text text)');
  expect(await refusal(restoreLedger({ databaseUrl, folder: backup() }))).toContain('other tables (letters)');
  expect((await pool.query(`SELECT to_regclass('sales') AS sales`)).rows).toEqual([{ sales: null }]);
});

test('empty tables that are newer than the backup are refused', async () => {
  await backUp();
  changeManifest((all) => ({ ...all, migrations: all.migrations.slice(0, -1) }));
  const newer = await emptyDatabase();
  await migrateLedger(newer.databaseUrl);
  expect(await refusal(restoreLedger({ databaseUrl: newer.databaseUrl, folder: backup() }))).toContain(
    'newer than the backup',
  );
});

test.each<[string, (text: string) => string, RegExp]>([
  [
    'a row that the table refuses',
    (text) => text.replace('\tconfirmed\t', '\tnobody knows\t'),
    /cannot be restored \(.*check constraint/,
  ],
  ['a row too few', (text) => text.slice(text.indexOf('\n') + 1), /has \d+ rows instead of \d+/],
])('all of it or nothing: %s', async (_, change, sentence) => {
  await backUp();
  const file = join(backup(), 'orders.copy.gz');
  const good = readFileSync(file);
  const bad = gzipSync(change(gunzipSync(good).toString()));
  const describe = (bytes: Buffer): void =>
    changeTable('orders.copy.gz', { sha256: createHash('sha256').update(bytes).digest('hex') });
  writeFileSync(file, bad);
  describe(bad);
  const { databaseUrl, pool } = await emptyDatabase();
  expect(await refusal(restoreLedger({ databaseUrl, folder: backup() }))).toMatch(sentence);
  expect(await rowsOf(pool, 'sales')).toEqual([]);
  writeFileSync(file, good);
  describe(good);
  await restoreLedger({ databaseUrl, folder: backup() });
  expect(await rowsOf(pool, 'orders')).toEqual(await rowsOf(world.pool, 'orders'));
});

test('a ledger that another tool restored: every epoch is raised, and what is not over is paused', async () => {
  await backUp();
  const { databaseUrl, pool } = await emptyDatabase();
  await restoreLedger({ databaseUrl, folder: backup() });
  await pool.query('UPDATE sales SET paused = false');
  const read = async () => (await pool.query('SELECT epoch, paused FROM sales WHERE id = $1', [sale.id])).rows[0];
  const before = await read();
  expect(await afterRestore(databaseUrl)).toContain(sale.id);
  const after = await read();
  expect(after.paused).toBe(true);
  expect(after.epoch).toBeGreaterThan(before.epoch);
});

test('dates do not depend on how source and target write them', async () => {
  const days = `SELECT id, extract(epoch FROM starts_at)::text AS starts, extract(epoch FROM created_at)::text AS created
                  FROM sales ORDER BY id`;
  const dated = await makeSale(world);
  await world.pool.query(`UPDATE sales SET starts_at = '2026-03-04T05:06:07.891Z' WHERE id = $1`, [dated.id]);
  const source = new URL(world.databaseUrl).pathname.slice(1);
  const { databaseUrl, pool } = await emptyDatabase();
  await world.pool.query(`ALTER DATABASE ${source} SET datestyle = 'SQL, DMY'`);
  await world.pool.query(`ALTER DATABASE ${pool.options.database} SET datestyle = 'SQL, MDY'`);
  await backUp();
  await restoreLedger({ databaseUrl, folder: backup() });
  const { rows } = await world.pool.query(days);
  expect(rows.find(({ id }) => id === dated.id)?.starts).toMatch(/^1772600767\.891/);
  expect((await pool.query(days)).rows).toEqual(rows);
});
