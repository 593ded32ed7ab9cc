/** npm run audit:sale, as an operator runs it: exit codes, output, and how it finds the running system. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { PlantedSale } from '../support/planted-sale.ts';
import { openWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 60_000 });

const script = fileURLToPath(new URL('../../scripts/run.mjs', import.meta.url));

let world: World;
let folder: string;
beforeAll(async () => {
  world = await openWorld(inject('template'));
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-audit-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await world.close();
});

function auditSale(args: string[], env: Record<string, string>): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const clean = { PATH: process.env.PATH, DATA_DIR: folder, ...env };
    execFile(process.execPath, [script, 'audit-sale', ...args], { env: clean }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

test('2 and a sentence if no system runs, or an option is unknown; else 0 and the equation, or 1 and the violation', async () => {
  const { redisUrl, databaseUrl, prefix } = world;
  const addresses = { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, KEY_PREFIX: prefix };
  const [none, wrong] = await Promise.all([auditSale([], {}), auditSale(['--loud'], addresses)]);
  expect(none).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/not set.*npm start/) });
  expect(wrong).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage: npm run audit:sale') });

  const sale = await PlantedSale.make(world);
  // The running system is found by what it wrote down, with its keys: under the default prefix there is no inventory.
  writeSystemFile(folder, addresses);
  const clean = await auditSale([sale.id], {});
  expect(clean).toMatchObject({ code: 0, err: '' });
  expect(clean.out).toContain('10 = 6 available + 1 reserved + 0 held + 3 sold   holds');
  expect(clean.out).toMatch(/: clean\n$/);

  await sale.move({ available: -1, sold: 1 });
  const [broken, json] = await Promise.all([auditSale([], addresses), auditSale(['--json'], addresses)]);
  expect(broken).toMatchObject({ code: 1, err: '' });
  expect(broken.out).toMatch(/^ {2}VIOLATION {2}UNITS_WITHOUT_OWNER {2}sold {2}The inventory counts 4 units sold/m);
  expect(broken.out).toMatch(/, 3 snapshots: 1 violation\n$/);
  expect(json.code).toBe(1);
  expect(JSON.parse(json.out) as AuditReport).toMatchObject({
    clean: false,
    sales: [{ saleId: sale.id, inventory: 'open', violations: [{ code: 'UNITS_WITHOUT_OWNER' }] }],
  });
});

test.each<[string, () => Promise<Partial<Parameters<typeof connectStores>[0]>>, RegExp]>([
  [
    'Redis is unavailable',
    async () => ({ redisUrl: `redis://u:secret@127.0.0.1:${await freePort()}` }),
    /^No Redis answers at \S+ \(.*ECONNREFUSED.*\)\. Start it, or correct REDIS_URL\.$/,
  ],
  [
    'PostgreSQL is unavailable',
    async () => ({ databaseUrl: `postgres://u:secret@127.0.0.1:${await freePort()}/d` }),
    /^No PostgreSQL answers at \S+ \(.*ECONNREFUSED.*\)\. Start it, or correct DATABASE_URL\.$/,
  ],
  [
    'the ledger is not migrated',
    async () => {
      await world.pool.query('DELETE FROM migrations');
      return {};
    },
    /not up to date.*npm run migrate/,
  ],
])('a sentence if %s', async (_, urls, sentence) => {
  const { redisUrl, databaseUrl } = world;
  const given = { redisUrl, databaseUrl, ...(await urls()) };
  const error = await connectStores(given, 'flash-sale-audit').catch((fault: Error) => fault);
  expect((error as Error).message).toMatch(sentence);
  expect((error as Error).message).not.toContain('secret');
});
