/** TLS to Redis and PostgreSQL with our own CA: a wrong CA and a wrong name get a clear message. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { checkFacts, readFacts } from '@flash-sale/ops/doctor/examine.ts';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeCertificates, tlsConfig } from '../support/certificates.ts';
import { startOwnRedis } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { eventually, testServers } from '../support/world.ts';

let folder: string;
let redis: PrivateServer;
let postgres: PrivateServer;
let tlsPort: number;

const file = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-tls-'));
  makeCertificates(folder, ['ours', 'another']);
  tlsPort = await freePort();
  const [ofRedis, ofPostgres] = [join(folder, 'r'), join(folder, 'p')];
  mkdirSync(ofRedis);
  mkdirSync(ofPostgres);
  const config = tlsConfig(folder, 'ours', tlsPort);
  [redis, postgres] = await Promise.all([
    startOwnRedis(ofRedis, config),
    startPrivatePostgres({ folder: ofPostgres, durable: false }),
  ]);
  await turnOnTls(join(ofPostgres, 'postgres', 'cluster'));
}, 60_000);
afterAll(async () => {
  await Promise.all([redis?.stop(), postgres?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

async function turnOnTls(cluster: string): Promise<void> {
  const { uid, gid } = statSync(cluster);
  for (const name of ['server.key', 'server.pem']) {
    copyFileSync(file(name), join(cluster, name));
    execFileSync('chown', [`${uid}:${gid}`, join(cluster, name)]);
    execFileSync('chmod', ['600', join(cluster, name)]);
  }
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query("ALTER SYSTEM SET ssl_cert_file = 'server.pem'");
  await client.query("ALTER SYSTEM SET ssl_key_file = 'server.key'");
  await client.query('ALTER SYSTEM SET ssl = on');
  await client.query('SELECT pg_reload_conf()');
  await client.end();
  await eventually('it uses TLS', 10_000, () =>
    checkPostgres(toPostgres('ours')).then(
      () => true,
      () => false,
    ),
  );
}

function toRedis(ca: string | null, host = 'localhost'): string {
  const password = new URL(redis.url).password;
  return `rediss://:${password}@${host}:${tlsPort}/0${ca === null ? '' : `?ca_file=${file(`${ca}.pem`)}`}`;
}

function toPostgres(ca: string | null, host = 'localhost'): string {
  const url = new URL(postgres.url);
  url.hostname = host;
  url.searchParams.set('sslmode', 'verify-full');
  if (ca !== null) url.searchParams.set('sslrootcert', file(`${ca}.pem`));
  return url.href;
}

const sentenceOf = (check: Promise<unknown>): Promise<string> =>
  check.then(
    () => 'it was accepted',
    (error: Error) => error.message,
  );

test.each([
  ['a CA that did not sign it', 'another', 'localhost', /from an unknown authority .* Name the CA's file/],
  ['no CA', null, 'localhost', /from an unknown authority/],
  ['a wrong name', 'ours', '127.0.0.1', /for another name .* Connect by the certificate's name/],
  [
    'a missing file',
    'missing',
    'localhost',
    /cannot be (read|used) \(ENOENT.*(Name a file|must name|must be readable)/,
  ],
])('%s: neither server is accepted, and the message says what to do', async (_what, ca, host, sentence) => {
  const checks = [checkRedis(toRedis(ca, host)), checkPostgres(toPostgres(ca, host))].map(sentenceOf);
  for (const said of await Promise.all(checks)) {
    expect(said).toMatch(sentence);
    expect(said).not.toContain(new URL(redis.url).password);
  }
});

test('TLS to a port without TLS gets a message', async () => {
  const plain = toRedis('ours').replace(`:${tlsPort}/`, `:${redis.port}/`);
  expect(await sentenceOf(checkRedis(plain))).toMatch(/No Redis answers .* write redis:\/\/ if it does not use TLS/);
  const ofPlain = `${testServers().databaseUrl}?sslmode=verify-full`;
  expect(await sentenceOf(checkPostgres(ofPlain))).toMatch(/does not speak TLS at this port .* take sslmode out/);
});

test('API and worker use both, and the doctor finds TLS', async () => {
  const [redisUrl, databaseUrl] = [toRedis('ours'), toPostgres('ours')];
  await migrateLedger(databaseUrl);
  const world = { redisUrl, databaseUrl, prefix: 'tls' };
  const [api, worker] = await Promise.all([startProcess(world, 'api'), startProcess(world, 'worker')]);
  try {
    await eventually('all servers answer', 15_000, async () => (await fetch(`${api.url}/health`)).ok);
    const found = async (url: string): Promise<string[]> => {
      const settings = readEnvironment({ REDIS_URL: redisUrl, DATABASE_URL: url });
      const facts = await readFacts({ settings, folders: [], timeoutMs: 10_000, roundTrips: 1 });
      const findings = checkFacts(facts, 'all').filter(({ code }) => /_TLS$/.test(code));
      return findings.map(({ code, outcome, found: what }) => `${code} ${outcome}: ${what}`);
    };
    expect(await found(databaseUrl)).toEqual(['REDIS_TLS ok: TLS', 'POSTGRES_TLS ok: TLS']);
    expect((await found(databaseUrl.replace('verify-full', 'no-verify')))[1]).toBe(
      'POSTGRES_TLS warning: TLS, and the certificate is not verified',
    );
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
  }
}, 60_000);
