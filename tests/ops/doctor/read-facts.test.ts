/** What the doctor reads of real servers: passwords, all connections, the disk of PostgreSQL. */

import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { checkFacts, readFacts } from '@flash-sale/ops/doctor/examine.ts';
import pg from 'pg';
import { expect, test } from 'vitest';
import { useWorld } from '../../support/fixtures.ts';

const world = useWorld();

async function findingsOf(code: string, databaseUrl = world.databaseUrl) {
  const urls = { REDIS_URL: world.redisUrl, DATABASE_URL: databaseUrl };
  const settings = readEnvironment({ ...urls, DATABASE_POOL_SIZE: '10' });
  const facts = await readFacts({ settings, folders: [], timeoutMs: 60_000, roundTrips: 1 });
  return checkFacts(facts, 'all').filter((finding) => finding.code === code);
}

test('without servers the doctor says how to get some', async () => {
  const facts = await readFacts({ settings: readEnvironment({}), folders: [], timeoutMs: 1_000, roundTrips: 1 });
  const unset = checkFacts(facts, 'all').filter(({ found }) => found.includes('no running system was found'));
  expect(unset.map(({ fix }) => fix)).toEqual(['npm start, or set REDIS_URL', 'npm start, or set DATABASE_URL']);
});

test('connections of processes on other machines count', async () => {
  const { pathname } = new URL(world.databaseUrl);
  await world.pool.query(`ALTER DATABASE ${pathname.slice(1)} CONNECTION LIMIT 30`);
  const url = { connectionString: world.databaseUrl, application_name: 'flash-sale-worker' };
  const elsewhere = Array.from({ length: 32 }, () => new pg.Client(url));
  try {
    await Promise.all(elsewhere.map((one) => one.connect()));
    const [finding] = await findingsOf('POSTGRES_CONNECTIONS');
    expect(finding).toMatchObject({ outcome: 'warning', found: expect.stringMatching(/of 30$/) });
    // Other tests may have such processes on this server, too.
    expect(Number(/all machines hold (\d+)/.exec(finding?.found ?? '')?.[1])).toBeGreaterThanOrEqual(32);
  } finally {
    await Promise.all(elsewhere.map((one) => one.end()));
  }
}, 90_000);

test('the disk of PostgreSQL is checked, or the report says that our role may not see it; a weak password is seen', async () => {
  const { data_directory: folder } = (await world.pool.query('SHOW data_directory')).rows[0];
  expect((await findingsOf('DISK')).map(({ found }) => found).join()).toContain(folder);
  const role = `plain_${world.prefix.replace('test-', '')}`;
  await world.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'postgres'`);
  try {
    const url = new URL(world.databaseUrl);
    url.username = role;
    url.password = 'postgres';
    const disks = (await findingsOf('DISK', url.href)).map(({ found }) => found).join();
    expect(disks).toContain('was not checked: data_directory cannot be read by this account');
    expect((await findingsOf('POSTGRES_LOGIN', url.href))[0]?.found).toBe('the password is a well-known word');
  } finally {
    await world.pool.query(`DROP ROLE ${role}`);
  }
}, 90_000);
