/** A ledger is restored from a backup while Redis keeps a newer inventory. */
import { join } from 'node:path';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { syncSale } from '@flash-sale/core/inventory/sync-sale.ts';
import { identifyLedger, readLedgerId } from '@flash-sale/core/ledger/ledger-id.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { backUpLedger } from '@flash-sale/ops/backup/back-up-ledger.ts';
import { restoreLedger } from '@flash-sale/ops/backup/restore-ledger.ts';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { auditHere, codesOf } from '../support/audited.ts';
import { useFolder, useWorldPerTest } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { OPERATOR, workerSteps } from '../support/worker-steps.ts';
import { eventually, type World } from '../support/world.ts';

/** The ledger at the time; Redis stays the same. */
type Ledger = Pick<World, 'pool' | 'databaseUrl'>;

const folder = useFolder();
const world = useWorldPerTest();
let inventory: Inventory;
let backup: string;
const restoredPools: pg.Pool[] = [];

beforeEach(() => {
  inventory = createInventory(world);
  backup = join(folder.path, world.prefix);
});
afterEach(async () => {
  for (const pool of restoredPools.splice(0)) {
    const { database } = pool.options;
    await pool.end();
    await world.pool.query(`DROP DATABASE ${database} WITH (FORCE)`);
  }
});

/** @param prepare what happens to the empty database before; @param owner of Redis */
async function restored(prepare?: (ledger: Ledger) => Promise<unknown>, owner?: () => string): Promise<Ledger> {
  const url = new URL(world.databaseUrl);
  const database = `${url.pathname.slice(1)}_${restoredPools.length + 1}`;
  await world.pool.query(`CREATE DATABASE ${database} TEMPLATE template0`);
  url.pathname = `/${database}`;
  const pool = new pg.Pool({ connectionString: url.href, database, max: 4 });
  pool.on('error', () => {});
  restoredPools.push(pool);
  await prepare?.({ pool, databaseUrl: url.href });
  await restoreLedger({ databaseUrl: url.href, folder: backup, owner: owner?.() ?? null });
  return { pool, databaseUrl: url.href };
}

const at = (ledger: Ledger) => workerSteps({ ...world, ...ledger });
const watchOnce = (ledger: Ledger): Promise<void> => at(ledger).watchOnce();

async function sellOne(ledger: Ledger, saleId: string): Promise<void> {
  const steps = at(ledger);
  const { kind, id } = await steps.order(saleId);
  if (kind !== 'reserved') throw new Error(kind);
  const { epoch } = await inventory.check(saleId, 0);
  await steps.confirm(await steps.batchOf(saleId, id, epoch));
}

async function resume({ pool }: Ledger, saleId: string): Promise<void> {
  const sales = createSaleStore(pool);
  const sale = await sales.setPaused(saleId, false, OPERATOR);
  if (!sale) throw new Error(`there is no sale ${saleId}`);
  await syncSale({ inventory, sales }, sale);
}

const rowOf = async ({ pool }: Ledger, saleId: string) =>
  (await pool.query('SELECT epoch, sold, paused FROM sales WHERE id = $1', [saleId])).rows[0];
const reasonsOf = async ({ pool }: Ledger) =>
  (await pool.query('SELECT reason FROM inventory_epochs ORDER BY epoch')).rows.map(({ reason }) => reason);
const auditOf = (ledger: Ledger, saleId: string) => auditHere({ ...world, ...ledger }, saleId);

test('[I3] [I8] [I11] each time the same backup is restored, the inventory is rebuilt and the sale continues', async () => {
  const sale = await makeSale(world, { units: 10 });
  await backUpLedger({ databaseUrl: world.databaseUrl, folder: backup, accepted: null });

  const first = await restored();
  await watchOnce(first);
  await resume(first, sale.id);
  for (let sold = 0; sold < 4; sold += 1) await sellOne(first, sale.id);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 6, sold: 4 });
  const { epoch } = await rowOf(first, sale.id);

  // Two restores by hand are further apart than the inventory's epochs between them.
  const secondsSince2026 = (): number => Math.floor((Date.now() - Date.UTC(2026)) / 1_000);
  await eventually("the clock is past the inventory's epoch", 10_000, () => secondsSince2026() > epoch);
  const second = await restored();
  expect((await rowOf(second, sale.id)).epoch).toBeGreaterThan(epoch);
  await watchOnce(second);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 10, sold: 0 });
  expect(await reasonsOf(second)).toEqual(['asked_for', 'behind']);
  await resume(second, sale.id);
  for (let sold = 0; sold < 10; sold += 1) await sellOne(second, sale.id);
  await expect(sellOne(second, sale.id)).rejects.toThrow('sold_out');
  expect(await rowOf(second, sale.id)).toMatchObject({ sold: 10, paused: false });
  expect(codesOf(await auditOf(second, sale.id))).toEqual([]);
});

test.each(['open', 'closed'] as const)(
  '[I8] [I11] a ledger that other tools restored raises its epoch above that of an inventory that is %s',
  async (state) => {
    const sale = await makeSale(world, { units: 10 });
    await backUpLedger({ databaseUrl: world.databaseUrl, folder: backup, accepted: null });
    const first = await restored();
    await watchOnce(first);
    await resume(first, sale.id);
    for (let sold = 0; sold < 4; sold += 1) await sellOne(first, sale.id);
    const { epoch } = await rowOf(first, sale.id);
    // As a rebuilder leaves it if it dies after its first step.
    if (state === 'closed') await world.redis.hset(world.keys.sale(sale.id).inventory, 'instance_id', '');

    // The world's own ledger knows nothing of it, and is in epoch 1.
    expect(await inventory.check(sale.id, 1)).toEqual({ condition: state === 'open' ? 'ahead' : 'closed', epoch });
    await watchOnce(world);
    expect(await reasonsOf(world)).toEqual([state === 'open' ? 'ahead' : 'closed']);
    expect(await rowOf(world, sale.id)).toMatchObject({ epoch: epoch + 1, sold: 0 });
    expect(await inventory.check(sale.id, epoch + 1)).toEqual({ condition: 'sound', epoch: epoch + 1 });
    expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 10, sold: 0 });
    await sellOne(world, sale.id);
    expect(codesOf(await auditOf(world, sale.id))).toEqual([]);
  },
);

test('a restored ledger has the identity of the backup, even if a service has started on the empty one', async () => {
  const id = await identifyLedger(world.pool);
  await backUpLedger({ databaseUrl: world.databaseUrl, folder: backup, accepted: null });
  expect(await readLedgerId((await restored()).pool)).toBe(id);

  const started = await restored(async (ledger) => {
    await migrateLedger(ledger.databaseUrl);
    expect(await identifyLedger(ledger.pool)).not.toBe(id);
  });
  expect(await readLedgerId(started.pool)).toBe(id);

  let ofNewRedis = '';
  const onNewRedis = await restored(
    async (ledger) => {
      await migrateLedger(ledger.databaseUrl);
      ofNewRedis = await identifyLedger(ledger.pool);
    },
    () => ofNewRedis,
  );
  expect(await readLedgerId(onNewRedis.pool)).toBe(ofNewRedis);
});
