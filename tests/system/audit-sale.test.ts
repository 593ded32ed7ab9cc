/** npm run audit:sale, as somebody types it. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { PlantedSale } from '../support/planted-sale.ts';
import { openWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 60_000 });

const script = fileURLToPath(new URL('../../scripts/run.mjs', import.meta.url));

let world: World;
let folder: string;
beforeEach(async () => {
  world = await openWorld(inject('template'));
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-audit-'));
});
afterEach(async () => {
  rmSync(folder, { recursive: true, force: true });
  await world.close();
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function auditSale(args: string[], env: Record<string, string> = addresses()): Promise<Said> {
  return new Promise((resolve) => {
    const clean = { PATH: process.env.PATH, DATA_DIR: folder, KEY_PREFIX: world.prefix, ...env };
    execFile(process.execPath, [script, 'audit-sale', ...args], { env: clean }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

const addresses = () => ({ REDIS_URL: world.redisUrl, DATABASE_URL: world.databaseUrl });

test('0 and the equation where all is well, 1 and the break where it is not', async () => {
  const sale = await PlantedSale.make(world);
  const well = await auditSale([sale.id]);
  expect(well).toMatchObject({ code: 0, err: '' });
  expect(well.out).toContain('10 = 6 available + 1 reserved + 0 held + 3 sold   holds');
  expect(well.out).toMatch(/: clean\n$/);

  await sale.move({ available: -1, sold: 1 });
  const broken = await auditSale([]);
  expect(broken).toMatchObject({ code: 1, err: '' });
  expect(broken.out).toMatch(/^ {2}BREAK {4}UNITS_WITHOUT_OWNER {2}sold {2}The inventory counts 4 units sold/m);
  expect(broken.out).toMatch(/, 5 looks: 1 break\n$/);
});

test('--json is the report and nothing else', async () => {
  const sale = await PlantedSale.make(world);
  const said = await auditSale(['--json']);
  expect(said.code).toBe(0);
  const report = JSON.parse(said.out) as AuditReport;
  expect(report).toMatchObject({ clean: true, looks: 1, sales: [{ saleId: sale.id, inventory: 'open', breaks: [] }] });
});

test('the running system is found by what it wrote down', async () => {
  await PlantedSale.make(world);
  // Its keys, too: at the default prefix there would be no inventory.
  writeSystemFile(folder, { ...addresses(), KEY_PREFIX: world.prefix });
  expect(await auditSale([], { KEY_PREFIX: '' })).toMatchObject({ code: 0 });
});

test.each<{ what: string; args: string[]; env(): Promise<Record<string, string>>; sentence: RegExp }>([
  { what: 'no system runs', args: [], env: async () => ({}), sentence: /not set.*npm start/ },
  {
    what: 'a sale is unknown',
    args: ['nobody-has-it'],
    env: async () => addresses(),
    sentence: /no sale "nobody-has-it"/,
  },
  {
    what: 'an option is unknown',
    args: ['--loud'],
    env: async () => addresses(),
    sentence: /Usage: npm run audit:sale/,
  },
  {
    what: 'Redis is away',
    args: [],
    env: async () => ({ ...addresses(), REDIS_URL: `redis://u:secret@127.0.0.1:${await freePort()}` }),
    sentence: /^Redis at 127\.0\.0\.1:\d+ cannot be read \(.*ECONNREFUSED.*\)\. Start it, or correct REDIS_URL\.\n$/,
  },
  {
    what: 'PostgreSQL is away',
    args: [],
    env: async () => ({ ...addresses(), DATABASE_URL: `postgres://u:secret@127.0.0.1:${await freePort()}/d` }),
    sentence:
      /^PostgreSQL at 127\.0\.0\.1:\d+\/d cannot be read \(.*ECONNREFUSED.*\)\. Start it, or correct DATABASE_URL\.\n$/,
  },
  {
    what: 'the ledger was not migrated',
    args: [],
    env: async () => {
      await world.pool.query('DROP TABLE inventory_epochs');
      return addresses();
    },
    sentence: /not up to date.*npm run migrate/,
  },
])('2 and a sentence where $what', async ({ args, env, sentence }) => {
  const said = await auditSale(args, await env());
  expect(said).toMatchObject({ code: 2, out: '' });
  expect(said.err).toMatch(sentence);
  expect(said.err).not.toContain('secret');
});
