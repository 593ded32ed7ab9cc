/**
 * A Redis Cluster of its own on loopback, for tests and the bench: so many masters, no replicas, the slots shared out evenly. Each node is
 * a private Redis as `npm start` runs one (append-only file, password), with `cluster-enabled yes`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@flash-sale/core/testing/world.ts';
import { findRedis } from '@flash-sale/launcher/find-redis.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';

const SLOTS = 16_384;
const PASSWORD = 'of-every-node';

export interface RedisCluster {
  /** redis+cluster://… with all its nodes. */
  readonly url: string;
  readonly nodes: readonly PrivateServer[];
  /** A plain connection to each node, in the order of `nodes`. */
  readonly clients: readonly Redis[];
  /** Which of `nodes` has the slot of a key. */
  nodeOf(key: string): Promise<number>;
  stop(): Promise<void>;
}

export async function startRedisCluster(options: {
  folder: string;
  distFolder: string;
  masters: number;
}): Promise<RedisCluster> {
  const { folder, distFolder, masters } = options;
  const found = await findRedis({ distFolder, searchPath: process.env.PATH });
  // The nodes tell each other and us where they are: a container would tell an address of its own.
  if (found.kind !== 'binary') throw new Error('A cluster needs a redis-server on this machine, not one in Docker.');
  const nodes: PrivateServer[] = [];
  const clients: Redis[] = [];
  const stop = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    const busPorts: number[] = [];
    for (let i = 0; i < masters; i++) {
      const ofNode = join(folder, `node-${i}`);
      mkdirSync(join(ofNode, 'secrets'), { recursive: true });
      writeFileSync(join(ofNode, 'secrets', 'redis-password'), `${PASSWORD}\n`, { mode: 0o600 });
      // Its default is 10,000 above the other one, and may not exist.
      const busPort = await freePort();
      const config = [
        'cluster-enabled yes',
        `cluster-port ${busPort}`,
        `masterauth ${PASSWORD}`,
        // A node that met no other does not know its own address, and tells none.
        'cluster-announce-ip 127.0.0.1',
      ];
      nodes.push(await startPrivateRedis({ folder: ofNode, distFolder, found, restart: false, config }));
      busPorts.push(busPort);
    }
    clients.push(...nodes.map(({ url }) => new Redis(url)));
    for (const client of clients) client.on('error', () => {});
    await formCluster(clients, nodes, busPorts);
    const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`).join(',');
    return {
      url: `redis+cluster://default:${PASSWORD}@${hosts}`,
      nodes,
      clients,
      async nodeOf(key) {
        const slot = (await clients[0]?.cluster('KEYSLOT', key)) as number;
        return Math.min(Math.floor(slot / Math.ceil(SLOTS / masters)), masters - 1);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Shares the slots out, introduces the nodes to the first one, and waits until each says that all is well. */
async function formCluster(
  clients: readonly Redis[],
  nodes: readonly PrivateServer[],
  busPorts: readonly number[],
): Promise<void> {
  const share = Math.ceil(SLOTS / clients.length);
  for (const [i, client] of clients.entries()) {
    await client.call('CLUSTER', 'ADDSLOTSRANGE', i * share, Math.min((i + 1) * share, SLOTS) - 1);
    // Nodes that meet with the same epoch have to agree on another one first.
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
  }
  for (const client of clients.slice(1))
    await client.call('CLUSTER', 'MEET', '127.0.0.1', String(nodes[0]?.port), String(busPorts[0]));
  await eventually('every node knows the others', 15_000, async () => {
    const states = await Promise.all(clients.map((client) => client.cluster('INFO')));
    return states.every(
      (state) => /cluster_state:ok/.test(String(state)) && String(state).includes(`cluster_size:${clients.length}`),
    );
  });
}
