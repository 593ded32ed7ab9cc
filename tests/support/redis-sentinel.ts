/**
 * A master, replicas and sentinels on loopback. Servers are private Redis servers (append-only
 * file, password); sentinels have a password of their own.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FoundRedis, findRedis } from '@flash-sale/launcher/find-redis.ts';
import { KeptProcess } from '@flash-sale/launcher/keep-process.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { eventually } from './world.ts';

const PASSWORD = 'of-every-server';
export const SENTINEL_PASSWORD = 'of-every-sentinel';
export const MASTER = 'the-inventory';
/** Milliseconds without a reply until a sentinel considers a server down. The default is 30 s. */
const DOWN_AFTER_MS = 1_000;
const FAILOVER_TIMEOUT_MS = 6_000;

/** A master without a replica accepts no writes after two seconds. */
export const MIN_REPLICAS = ['min-replicas-to-write 1', 'min-replicas-max-lag 2'];

export interface WatchedRedis {
  /** redis+sentinel://… with all sentinels, and their own password. */
  readonly url: string;
  /** The first one is the master at the beginning. */
  readonly servers: readonly PrivateServer[];
  /** A plain connection to each server. */
  readonly clients: readonly Redis[];
  /** Port of the master, according to the first sentinel. */
  masterPort(): Promise<number>;
  /** The replicas receive nothing from now on, over a connection that stays up. */
  cutReplicasOff(): Promise<void>;
  /** All servers and all sentinels are gone. */
  end(): Promise<void>;
  stop(): Promise<void>;
}

/** @param options.config further lines of redis.conf, of each server */
export async function startWatchedRedis(options: {
  folder: string;
  distFolder: string;
  replicas: number;
  sentinels: number;
  config?: readonly string[];
}): Promise<WatchedRedis> {
  const { folder, distFolder, replicas } = options;
  const found = await findRedis({ distFolder });
  if (found.kind !== 'binary') throw new Error('Sentinels need a redis-server on this machine, not one in Docker.');
  const servers: PrivateServer[] = [];
  const clients: Redis[] = [];
  const sentinels: Sentinel[] = [];
  const ways: TcpProxy[] = [];
  const stop = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
    await Promise.all(ways.map((way) => way.close()));
    await end();
  };
  const end = async (): Promise<void> => {
    await Promise.all([
      ...sentinels.map(({ kept }) => kept.stop()),
      ...servers.map((server) => {
        if (server.pid !== undefined) process.kill(server.pid, 'SIGCONT');
        return server.stop();
      }),
    ]);
  };
  try {
    for (let i = 0; i <= replicas; i++) {
      const ofServer = join(folder, `server-${i}`);
      mkdirSync(join(ofServer, 'secrets'), { recursive: true });
      writeFileSync(join(ofServer, 'secrets', 'redis-password'), `${PASSWORD}\n`, { mode: 0o600 });
      const config = [
        `masterauth ${PASSWORD}`,
        'repl-diskless-sync-delay 0',
        ...(options.config ?? []),
        ...(i === 0 ? [] : [`replicaof 127.0.0.1 ${servers[0]?.port}`]),
      ];
      servers.push(await startPrivateRedis({ folder: ofServer, distFolder, found, restart: false, config }));
    }
    clients.push(...servers.map(({ url }) => new Redis(url)));
    for (const client of clients) client.on('error', () => {});
    for (const client of clients.slice(1))
      await eventually('a replica is in step', 20_000, async () =>
        (await client.info('replication')).includes('master_link_status:up'),
      );
    const masterPort = servers[0]?.port ?? 0;
    while (sentinels.length < options.sentinels)
      sentinels.push(
        await startSentinel({ folder: join(folder, `sentinel-${sentinels.length}`), found, masterPort, quorum: 2 }),
      );
    const first = new Redis({ port: sentinels[0]?.port ?? 0, password: SENTINEL_PASSWORD });
    first.on('error', () => {});
    clients.push(first);
    await eventually('the sentinels know the replicas and each other', 20_000, async () => {
      const pairs = (await first.call('SENTINEL', 'MASTER', MASTER)) as string[];
      const numberOf = (name: string): number => Number(pairs[pairs.indexOf(name) + 1]);
      return numberOf('num-slaves') === replicas && numberOf('num-other-sentinels') === options.sentinels - 1;
    });
    const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
    return {
      url: `redis+sentinel://default:${PASSWORD}@${hosts}/${MASTER}/0?sentinel_password=${SENTINEL_PASSWORD}`,
      servers,
      clients: clients.slice(0, servers.length),
      async masterPort() {
        const [, port] = (await first.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER)) as [string, string];
        return Number(port);
      },
      async cutReplicasOff() {
        const way = await TcpProxy.listen(masterPort);
        ways.push(way);
        for (const replica of clients.slice(1, servers.length)) await replica.replicaof('127.0.0.1', way.port);
        // They continue from where they were: a partial resync.
        for (const replica of clients.slice(1, servers.length))
          await eventually('a replica goes on over the other way', 10_000, async () =>
            (await replica.info('replication')).includes('master_link_status:up'),
          );
        way.hold('down');
      },
      end,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

export interface Sentinel {
  readonly port: number;
  readonly kept: KeptProcess;
}

/**
 * @param options.masterHost 127.0.0.1 unless it is a name, which the sentinel then announces as one
 * @param options.quorum how many sentinels must take the master for dead
 * @param options.config further lines of sentinel.conf
 */
export async function startSentinel(options: {
  folder: string;
  found: FoundRedis & { kind: 'binary' };
  masterHost?: string;
  masterPort: number;
  quorum: number;
  config?: readonly string[];
}): Promise<Sentinel> {
  const { folder, found, masterHost = '127.0.0.1', masterPort, quorum, config = [] } = options;
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const configFile = join(folder, 'sentinel.conf');
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir "${folder}"`,
    `requirepass ${SENTINEL_PASSWORD}`,
    `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
    ...config,
    `sentinel monitor ${MASTER} ${masterHost} ${masterPort} ${quorum}`,
    `sentinel auth-pass ${MASTER} ${PASSWORD}`,
    `sentinel down-after-milliseconds ${MASTER} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${MASTER} ${FAILOVER_TIMEOUT_MS}`,
    `sentinel parallel-syncs ${MASTER} 1`,
  ];
  writeFileSync(configFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  const kept = new KeptProcess({
    name: 'sentinel',
    command: found.path,
    args: [configFile, '--sentinel'],
    logFile: join(folder, 'sentinel.log'),
    kind: 'server',
    restart: false,
    env: { PATH: process.env.PATH, LC_ALL: 'C', LD_LIBRARY_PATH: found.libraryPath },
    cwd: folder,
  });
  kept.ready.catch(() => {});
  const client = new Redis({ port, password: SENTINEL_PASSWORD, retryStrategy: () => 25 });
  client.on('error', () => {});
  try {
    await eventually('a sentinel answers', 10_000, () =>
      client.ping().then(
        () => true,
        () => false,
      ),
    );
  } catch (error) {
    await kept.stop();
    throw error;
  } finally {
    client.disconnect();
  }
  kept.markReady();
  return { port, kept };
}
