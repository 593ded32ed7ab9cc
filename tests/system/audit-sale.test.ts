/** npm run audit:sale: exit codes, output, and how it finds the running system. */
import { connect, createServer } from 'node:net';
import { writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import type { AuditReport } from '@flash-sale/ops/audit/audit-report.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { expect, test, vi } from 'vitest';
import { addressesOf, runScript, type Said } from '../support/command.ts';
import { useFolder, useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { PlantedSale } from '../support/planted-sale.ts';

vi.setConfig({ testTimeout: 60_000 });

const world = useWorld();
const folder = useFolder();

const auditSale = (args: string[], env: NodeJS.ProcessEnv): Promise<Said> =>
  runScript('audit-sale', args, { DATA_DIR: folder.path, ...env });

test('exit code 2 if no system runs or an option is unknown, 0 if all is clean, 1 for a violation', async () => {
  const addresses = addressesOf(world);
  const [none, wrong] = await Promise.all([auditSale([], {}), auditSale(['--loud'], addresses)]);
  expect(none).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/not set.*npm start/) });
  expect(wrong).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('Usage: npm run audit:sale') });

  const sale = await PlantedSale.make(world);
  // The running system's file has its key prefix; there is no inventory under the default one.
  writeSystemFile(folder.path, addresses);
  const clean = await auditSale([sale.id], {});
  expect(clean).toMatchObject({ code: 0, stderr: '' });
  expect(clean.stdout).toContain('10 = 6 available + 1 reserved + 0 held + 3 sold   balances');
  expect(clean.stdout).toMatch(/: clean\n$/);

  await sale.move({ available: -1, sold: 1 });
  const [broken, json] = await Promise.all([auditSale([], addresses), auditSale(['--json'], addresses)]);
  expect(broken).toMatchObject({ code: 1, stderr: '' });
  expect(broken.stdout).toMatch(/^ {2}VIOLATION {2}UNITS_WITHOUT_OWNER {2}sold {2}The inventory counts 4 units sold/m);
  expect(broken.stdout).toMatch(/, 3 snapshots: 1 violation\n$/);
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout) as AuditReport).toMatchObject({
    clean: false,
    sales: [{ saleId: sale.id, inventory: 'open', violations: [{ code: 'UNITS_WITHOUT_OWNER' }] }],
  });
});

test('Redis is lost between the check and the connection: the command ends, and says so', async () => {
  const { port: redisPort, href } = new URL(world.redisUrl);
  let connections = 0;
  const server = createServer((near) => {
    connections += 1;
    if (connections > 1) return void near.destroy();
    const far = connect(Number(redisPort), '127.0.0.1');
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    near.pipe(far).pipe(near);
  });
  const port = await freePort();
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening));
  try {
    const lost = await auditSale([], { ...addressesOf(world), REDIS_URL: href.replace(`:${redisPort}`, `:${port}`) });
    expect(lost).toMatchObject({ code: 2, stdout: '' });
    // In either order: the log is written in the background.
    expect(lost.stderr).toMatch(/^Connection is closed\.$/m);
    expect(lost.stderr).toMatch(/"connection":"flash-sale-audit".*"redis does not answer"/);
    expect(connections).toBe(2);
  } finally {
    server.close();
  }
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
  const { redisUrl, databaseUrl, prefix } = world;
  const given = { redisUrl, databaseUrl, prefix, ...(await urls()) };
  const error = await connectStores(given, 'flash-sale-audit').catch((fault: Error) => fault);
  expect((error as Error).message).toMatch(sentence);
  expect((error as Error).message).not.toContain('secret');
});
