/** The role of API and worker in PostgreSQL: with the rights of docs/operations.md, or fewer. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { beforeEach, expect, test, vi } from 'vitest';
import { auditHere, codesOf } from '../support/audited.ts';
import { ask, BEARER, useWorldPerTest } from '../support/fixtures.ts';
import { startProcess } from '../support/running-system.ts';
import { workerSteps } from '../support/worker-steps.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

vi.setConfig({ testTimeout: 60_000 });

const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
const [, documented = ''] = /```sql\n(CREATE ROLE[\s\S]*?)```/.exec(page) ?? [];

const world = useWorldPerTest();
let role: string;
let databaseUrl: string;

beforeEach(async () => {
  role = `services_${world.prefix.replace('test-', '')}`;
  await world.pool.query('REVOKE ALL ON SCHEMA public FROM PUBLIC');
  await world.pool.query(documented.replaceAll('flash_sale_services', role).replace('…', 'not-a-word'));
  world.onClose(() => world.pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`));
  const url = new URL(world.databaseUrl);
  [url.username, url.password] = [role, 'not-a-word'];
  databaseUrl = url.href;
});

test('with the documented rights API and worker do all their work; migrations need the owner', async () => {
  const services = { ...world, databaseUrl };
  const [api] = await Promise.all([startProcess(services, 'api'), startProcess(services, 'worker')]);
  const steps = workerSteps(world);
  const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
  const window = { starts_at: at(-1_000), ends_at: at(60_000) };
  const prices = { original_price: '2.00', flash_sale_price: '1.00', currency: 'USD' };
  const admin = async (path: string, body?: object) =>
    (await ask(`${api.url}/api/admin${path}`, { method: 'POST', headers: BEARER, body })).status;
  expect(await admin('/sales', { product_id: 'tea', name: 'Tea', units: 2, ...prices, ...window })).toBe(201);
  const changes: [string, object?][] = [
    ['pause'],
    ['resume'],
    ['window', window],
    ['stock', { delta: 3, reason: 'more' }],
    ['stock', { delta: -1, reason: 'fewer' }],
  ];
  for (const [change, body] of changes) expect(await admin(`/sales/tea/${change}`, body), change).toBe(200);
  const order = (): Promise<{ status: number }> =>
    ask(`${api.url}/api/flash-sales/tea/order`, { method: 'POST', headers: { 'x-user-id': 'ann' } });
  expect((await order()).status).toBe(200);
  await eventually('it is confirmed', 10_000, async () => (await steps.numbers('tea'))?.sold === 1);
  await steps.otherInstance('tea');
  await eventually('rebuilt', 10_000, async () => (await steps.epochsOf('tea')).some((epoch) => epoch.opened_at));
  expect(codesOf(await auditHere(world))).toEqual([]);
  const health = async () => (await ask(`${api.url}/health`)).body.unavailable;
  expect(await health()).toEqual([]);

  await world.pool.query(`REVOKE INSERT ON orders FROM ${role}`);
  await eventually('health names it', 5_000, async () => (await health()).includes('postgres'));
  expect((await order()).status, 'it waits').toBe(200);
  await world.pool.query(`GRANT INSERT ON orders TO ${role}`);
  await eventually('it is confirmed', 20_000, async () => (await steps.numbers('tea'))?.sold === 2);

  await world.pool.query('DELETE FROM migrations WHERE id > 1');
  await expect(migrateLedger(databaseUrl)).rejects.toThrow(/permission denied|must be owner/);
});

test('without one of them a process does not start: a sentence names the right and the GRANT', async () => {
  const rights = [...documented.matchAll(/^GRANT (.*) ON (?!SCHEMA)(.*) TO/gm)].flatMap(([, names = '', tables = '']) =>
    tables.split(', ').flatMap((table) => names.split(', ').map((name) => [name, table])),
  );
  expect(rights.length).toBeGreaterThan(10);
  await checkPostgres(databaseUrl);
  for (const [right, table] of rights) {
    const sentence = `PostgreSQL does not let the role ${role} of DATABASE_URL write orders. As the owner of the tables: GRANT ${right} ON ${table} TO ${role}`;
    await world.pool.query(`REVOKE ${right} ON ${table} FROM ${role}`);
    await expect(checkPostgres(databaseUrl)).rejects.toThrow(sentence);
    await world.pool.query(`GRANT ${right} ON ${table} TO ${role}`);
  }
});

test.each<[what: string, spoil: (role: string) => string, sentence: RegExp]>([
  [
    'a role that may only read',
    (role) => `REVOKE INSERT, UPDATE ON sales FROM ${role}`,
    /GRANT INSERT, UPDATE ON sales TO/,
  ],
  [
    'a role that is read-only',
    (role) => `ALTER ROLE ${role} SET default_transaction_read_only = on`,
    /is read-only for the role services_\w+ .*ALTER ROLE services_\w+ SET default_transaction_read_only = off/,
  ],
])('API and worker refuse %s', async (_, spoil, sentence) => {
  await world.pool.query(spoil(role));
  const services = { ...world, databaseUrl };
  await Promise.all(
    (['api', 'worker'] as const).map(async (name) => {
      const refused = startProcess(services, name);
      await expect(refused).rejects.toThrow(`${name} ended (78)`);
      await expect(refused).rejects.toThrow(sentence);
    }),
  );
});
