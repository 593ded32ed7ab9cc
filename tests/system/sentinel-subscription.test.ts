/**
 * The subscription to a sentinel, over TLS with our own CA. The sentinel gets another master by
 * hand, so that only the subscription can move the connection: no server dies or is demoted.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { connectForWork, type RedisConnection } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { endpointOf } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { findRedis } from '@flash-sale/launcher/find-redis.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeCertificates, tlsConfig } from '../support/certificates.ts';
import { freePort } from '../support/free-port.ts';
import { MASTER, SENTINEL_PASSWORD, type Sentinel, startSentinel } from '../support/redis-sentinel.ts';
import { eventually } from '../support/world.ts';

interface WithTls extends Sentinel {
  readonly tlsPort: number;
  readonly client: Redis;
}

let folder: string;
let servers: { port: number; server: PrivateServer }[];
let sentinels: WithTls[];
let connection: RedisConnection | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-sentinel-'));
  makeCertificates(folder, ['ours']);
  servers = await Promise.all(['old', 'new'].map(startServer));
  sentinels = [];
}, 60_000);
afterEach(async () => {
  await connection?.close();
  for (const { client } of sentinels) client.disconnect();
  await Promise.all([...sentinels.map(({ kept }) => kept.stop()), ...servers.map(({ server }) => server.stop())]);
  rmSync(folder, { recursive: true, force: true });
});

const distFolder = () => process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');

async function startServer(name: string): Promise<{ port: number; server: PrivateServer }> {
  const port = await freePort();
  mkdirSync(join(folder, name, 'secrets'), { recursive: true });
  writeFileSync(join(folder, name, 'secrets', 'redis-password'), 'of-both\n', { mode: 0o600 });
  const config = tlsConfig(folder, 'ours', port);
  return { port, server: await startPrivateRedis({ folder: join(folder, name), config, distFolder: distFolder() }) };
}

async function startTlsSentinel(tlsPort?: number): Promise<WithTls> {
  const found = await findRedis({ distFolder: distFolder() });
  if (found.kind !== 'binary') throw new Error('Sentinels need a redis-server on this machine, not one in Docker.');
  const port = tlsPort ?? (await freePort());
  const sentinel = await startSentinel({
    folder: join(folder, `sentinel-${sentinels.length}`),
    found,
    masterHost: 'localhost',
    masterPort: servers[0]?.port ?? 0,
    quorum: 1,
    config: [
      ...tlsConfig(folder, 'ours', port),
      'tls-replication yes',
      'sentinel resolve-hostnames yes',
      'sentinel announce-hostnames yes',
    ],
  });
  const client = new Redis({ port: sentinel.port, password: SENTINEL_PASSWORD });
  const started = { ...sentinel, tlsPort: port, client };
  sentinels.push(started);
  return started;
}

async function connect(): Promise<Redis> {
  const hosts = sentinels.map(({ tlsPort }) => `localhost:${tlsPort}`).join(',');
  const query = `sentinel_password=${SENTINEL_PASSWORD}&ca_file=${join(folder, 'ours.pem')}`;
  const url = `rediss+sentinel://default:of-both@${hosts}/${MASTER}/0?${query}`;
  const log = createLogger('test', 'info', join(folder, 'test.log'));
  connection = connectForWork({ url, name: 'test', log });
  await connection.connect();
  return connection.redis as Redis;
}

/** Without a message to subscribers: as if it was sent while none was connected. */
async function changeMaster(client: Redis): Promise<void> {
  await client.call('SENTINEL', 'REMOVE', MASTER);
  await client.call('SENTINEL', 'MONITOR', MASTER, 'localhost', String(servers[1]?.port), '1');
}

const subscribers = async ({ client }: { client: Redis }): Promise<number> =>
  String(await client.client('LIST', 'TYPE', 'PUBSUB'))
    .split('\n')
    .filter(Boolean).length;

test('a subscription trusts ca_file; when it reconnects, it notices a missed change and moves to the new master', async () => {
  const sentinel = await startTlsSentinel();
  const redis = await connect();
  expect(endpointOf(redis).port).toBe(servers[0]?.port);
  await eventually('it is subscribed', 10_000, async () => (await subscribers(sentinel)) === 1);
  await changeMaster(sentinel.client);
  expect(endpointOf(redis).port).toBe(servers[0]?.port);
  await sentinel.client.client('KILL', 'TYPE', 'PUBSUB');
  await eventually('it is connected to the new master', 10_000, () => endpointOf(redis).port === servers[1]?.port);
  expect(await redis.ping()).toBe('PONG');
}, 60_000);

test('a failed subscription is logged once, and once more when it works again', async () => {
  await startTlsSentinel();
  const second = await startTlsSentinel();
  await connect();
  await eventually('both are subscribed', 10_000, async () => (await subscribers(second)) === 1);
  second.client.disconnect();
  await second.kept.stop();
  let tries = 0;
  const closing = createServer((socket) => {
    tries++;
    socket.destroy();
  }).listen(second.tlsPort, '127.0.0.1');
  await once(closing, 'listening');
  const said = (words: string) =>
    readFileSync(join(folder, 'test.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(words));
  await eventually('it was tried three times', 15_000, () => tries >= 3);
  expect(said('cannot subscribe to a sentinel')).toEqual([expect.stringContaining(`localhost:${second.tlsPort}: `)]);
  closing.close();
  await once(closing, 'close');
  await startTlsSentinel(second.tlsPort);
  await eventually('it is subscribed again', 15_000, () => said('subscribed to the sentinel again').length === 1);
}, 60_000);
