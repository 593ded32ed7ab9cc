/** A Redis behind a proxy that loses data during a sale. */
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import type { Underway } from './sell-through.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { eventually } from './world.ts';

/**
 * restart: SIGKILL, and started with its own file. restored: with a file of a second ago, as after
 * a power loss. failover: a replica that lags by a second takes over. flushall: emptied.
 */
export type Loss = 'restart' | 'restored' | 'failover' | 'flushall';

/** ms for which a replica lags, and for which workers freeze, before the loss. */
const BEHIND_MS = 700;
const FROZEN_MS = 300;

export interface LosableRedis {
  readonly url: string;
  /** Workers freeze just before: orders accepted meanwhile are in Redis only. */
  lose(loss: Loss, underway: Underway): Promise<void>;
  stop(): Promise<void>;
}

export async function startLosableRedis(folder: string, appendfsync: 'always' | 'everysec'): Promise<LosableRedis> {
  const distFolder = process.env.TEST_REDIS_DIST ?? join(folder, 'redis-dist');
  const servers: PrivateServer[] = [];
  const proxies: TcpProxy[] = [];
  const start = async (name: string, config: readonly string[] = []): Promise<PrivateServer> => {
    const all = [`appendfsync ${appendfsync}`, 'repl-diskless-sync-delay 0', ...config];
    const server = await startPrivateRedis({ folder: join(folder, name), restart: false, config: all, distFolder });
    servers.push(server);
    return server;
  };
  const proxyTo = async (port: number): Promise<TcpProxy> => {
    const proxy = await TcpProxy.listen(port);
    proxies.push(proxy);
    return proxy;
  };
  mkdirSync(join(folder, 'first'), { recursive: true });
  const first = await start('first');
  const proxy = await proxyTo(first.port);
  const url = new URL(first.url);
  url.port = String(proxy.port);
  const [data, copy] = [join(folder, 'first', 'redis'), join(folder, 'copy')];

  /** A replica that is in step, and receives nothing from now on. */
  async function startReplica(): Promise<{ port: number; takeOver(): Promise<void> }> {
    // The same password: a client that fails over keeps its own.
    cpSync(join(folder, 'first', 'secrets'), join(folder, 'replica', 'secrets'), { recursive: true });
    const way = await proxyTo(first.port);
    const config = [`replicaof 127.0.0.1 ${way.port}`, `masterauth ${url.password}`, 'replica-read-only no'];
    const replica = await start('replica', config);
    const client = new Redis(replica.url);
    await eventually('the replica is in step', 20_000, async () =>
      (await client.info('replication')).includes('link_status:up'),
    );
    way.hold('down');
    return {
      port: replica.port,
      async takeOver() {
        way.cut();
        proxy.cut();
        await client.replicaof('NO', 'ONE');
        client.disconnect();
      },
    };
  }

  return {
    url: url.href,
    async lose(loss, { redis, workers, struck }) {
      if (loss === 'restored') cpSync(data, copy, { recursive: true });
      const replica = loss === 'failover' ? await startReplica() : undefined;
      await pause(BEHIND_MS);
      for (const { child } of workers) child.kill('SIGSTOP');
      await pause(FROZEN_MS);
      struck();
      if (loss === 'flushall') await redis.flushall();
      else {
        first.kill();
        await eventually('redis is gone', 5_000, () => first.pid === undefined);
        if (loss === 'restored') {
          rmSync(data, { recursive: true });
          cpSync(copy, data, { recursive: true });
        }
        await replica?.takeOver();
        proxy.targetPort = replica?.port ?? (await start('first')).port;
      }
      for (const { child } of workers) child.kill('SIGCONT');
    },
    async stop() {
      await Promise.all(proxies.map((one) => one.close()));
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}
