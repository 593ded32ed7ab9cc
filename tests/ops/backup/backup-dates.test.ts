/** A backup does not depend on how the servers that it is of, and that it is restored into, write dates. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backUpLedger } from '@flash-sale/ops/backup/back-up-ledger.ts';
import { restoreLedger } from '@flash-sale/ops/backup/restore-ledger.ts';
import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale } from '../../support/sales.ts';
import { openWorld, type World } from '../../support/world.ts';

let world: World;
let folder: string;
beforeAll(async () => {
  world = await openWorld(inject('template'));
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-dates-'));
});
afterAll(async () => {
  await world.close();
  rmSync(folder, { recursive: true, force: true });
});

test('a day stays a day, and a month a month, however source and target write dates', async () => {
  const sale = await makeSale(world);
  const days = `SELECT id, extract(epoch FROM starts_at)::text AS starts, extract(epoch FROM ends_at)::text AS ends,
                       extract(epoch FROM created_at)::text AS created FROM sales ORDER BY id`;
  await world.pool.query(
    `UPDATE sales SET starts_at = '2026-03-04T05:06:07.891Z', ends_at = '2026-04-05T06:07:08Z' WHERE id = $1`,
    [sale.id],
  );
  const source = new URL(world.databaseUrl).pathname.slice(1);
  const url = new URL(world.databaseUrl);
  const target = `${source}_target`;
  url.pathname = `/${target}`;
  await world.pool.query(`CREATE DATABASE ${target} TEMPLATE template0`);
  const pool = new pg.Pool({ connectionString: url.href, max: 1 });
  pool.on('error', () => {});
  await world.pool.query(`ALTER DATABASE ${source} SET datestyle = 'SQL, DMY'`);
  await world.pool.query(`ALTER DATABASE ${target} SET datestyle = 'SQL, MDY'`);
  try {
    await backUpLedger({ databaseUrl: world.databaseUrl, folder: join(folder, 'backup'), accepted: null });
    await restoreLedger({ databaseUrl: url.href, folder: join(folder, 'backup') });
    const { rows } = await world.pool.query(days);
    expect(rows.find(({ id }) => id === sale.id)).toMatchObject({ starts: expect.stringMatching(/^1772600767\.891/) });
    expect((await pool.query(days)).rows).toEqual(rows);
  } finally {
    await pool.end();
    await world.pool.query(`DROP DATABASE ${target} WITH (FORCE)`);
  }
});
