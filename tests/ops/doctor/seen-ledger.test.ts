/** What the doctor sees of a real PostgreSQL that is shared with others: connections of all machines, and the disk that it keeps its data on. */

import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import type { CheckCode, Finding } from '@flash-sale/ops/doctor/checks.ts';
import { collectFacts } from '@flash-sale/ops/doctor/collect-facts.ts';
import { judgeFacts } from '@flash-sale/ops/doctor/judge-facts.ts';
import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { openWorld, type World } from '../../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

async function findingsOf(code: CheckCode, databaseUrl = world.databaseUrl): Promise<Finding[]> {
  const settings = readEnvironment({
    REDIS_URL: world.redisUrl,
    DATABASE_URL: databaseUrl,
    DATABASE_POOL_SIZE: '10',
  });
  const facts = await collectFacts({ settings, folders: [], lookMs: 60_000, roundTrips: 1, migrations: false });
  return judgeFacts(facts, 'all').filter((finding) => finding.code === code);
}

test('processes of other machines hold the connections: seen, though the settings of this one would do', async () => {
  const { pathname } = new URL(world.databaseUrl);
  await world.pool.query(`ALTER DATABASE ${pathname.slice(1)} CONNECTION LIMIT 30`);
  const url = { connectionString: world.databaseUrl, application_name: 'flash-sale-worker' };
  const elsewhere = Array.from({ length: 32 }, () => new pg.Client(url));
  try {
    await Promise.all(elsewhere.map((one) => one.connect()));
    const [finding] = await findingsOf('POSTGRES_CONNECTIONS');
    expect(finding).toMatchObject({ outcome: 'warning', found: expect.stringContaining(' of 30') });
    // Other tests may have such processes on this server, too.
    expect(Number(/all machines have (\d+)/.exec(finding?.found ?? '')?.[1])).toBeGreaterThanOrEqual(32);
  } finally {
    await Promise.all(elsewhere.map((one) => one.end()));
  }
}, 90_000);

test('the disk of PostgreSQL is looked at; where our role may not know where it is, it is said to be unseen', async () => {
  const { data_directory: folder } = (await world.pool.query('SHOW data_directory')).rows[0];
  const seen = (await findingsOf('DISK')).map(({ found }) => found).join();
  expect(seen).toContain(folder);
  const role = `plain_${world.prefix.replace('test-', '')}`;
  await world.pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'mFq8-2xVt0Rz7'`);
  try {
    const url = new URL(world.databaseUrl);
    url.username = role;
    url.password = 'mFq8-2xVt0Rz7';
    const unseen = (await findingsOf('DISK', url.href)).map(({ found }) => found).join();
    expect(unseen).toContain('that of PostgreSQL was not seen: our role may not ask for data_directory');
  } finally {
    await world.pool.query(`DROP ROLE ${role}`);
  }
}, 90_000);
