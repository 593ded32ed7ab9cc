/** A Redis Cluster on loopback, of private Redis servers (append-only file, password). */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findRedis } from '@flash-sale/launcher/find-redis.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import { freePort } from './free-port.ts';
import { eventually } from './world.ts';

const SLOTS = 16_384;
const PASSWORD = 'of-every-node';
/** Milliseconds without a reply until a node is considered failed. The default is 15 s. */
const NODE_TIMEOUT_MS = 2_000;

export interface RedisCluster {
  /** redis+cluster://… with all its nodes. */
  readonly url: string;
  /** The masters first, as they were at the beginning, then the replicas. */
  readonly nodes: readonly PrivateServer[];
  /** A plain connection to each node, in the order of `nodes`. */
  readonly clients: readonly Redis[];
  /** Index of the node that had the slot of a key at the beginning. */
  nodeOf(key: string): Promise<number>;
  /** Index of the node that has it now, according to the asked one. */
  holderOf(key: string, asked?: number): Promise<number>;
  /** Moves the slot of a key, as `redis-cli --cluster reshard` does. @returns keys moved */
  moveSlot(key: string, to: number): Promise<number>;
  stop(): Promise<void>;
}

export async function startRedisCluster(options: {
  folder: string;
  distFolder: string;
  masters: number;
  /** One for each of the first masters. */
  replicas?: number;
}): Promise<RedisCluster> {
  const { folder, distFolder, masters, replicas = 0 } = options;
  const found = await findRedis({ distFolder });
  // Nodes announce their addresses: a container would announce its own.
  if (found.kind !== 'binary') throw new Error('A cluster needs a redis-server on this machine, not one in Docker.');
  const nodes: PrivateServer[] = [];
  const clients: Redis[] = [];
  const stop = async (): Promise<void> => {
    for (const client of clients) client.disconnect();
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    const busPorts: number[] = [];
    for (let i = 0; i < masters + replicas; i++) {
      const ofNode = join(folder, `node-${i}`);
      mkdirSync(join(ofNode, 'secrets'), { recursive: true });
      writeFileSync(join(ofNode, 'secrets', 'redis-password'), `${PASSWORD}\n`, { mode: 0o600 });
      // Its default is 10,000 above the other one, and may not exist.
      const busPort = await freePort();
      const config = [
        'cluster-enabled yes',
        `cluster-port ${busPort}`,
        `cluster-node-timeout ${NODE_TIMEOUT_MS}`,
        `masterauth ${PASSWORD}`,
        'repl-diskless-sync-delay 0',
        // A node that met no other does not know its address.
        'cluster-announce-ip 127.0.0.1',
      ];
      nodes.push(await startPrivateRedis({ folder: ofNode, distFolder, found, restart: false, config }));
      busPorts.push(busPort);
    }
    clients.push(...nodes.map(({ url }) => new Redis(url)));
    for (const client of clients) client.on('error', () => {});
    await formCluster(clients, nodes, busPorts, masters);
    await addReplicas(clients, masters);
    const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`).join(',');
    const cluster: RedisCluster = {
      url: `redis+cluster://default:${PASSWORD}@${hosts}`,
      nodes,
      clients,
      async nodeOf(key) {
        const slot = (await clients[0]?.cluster('KEYSLOT', key)) as number;
        return Math.min(Math.floor(slot / Math.ceil(SLOTS / masters)), masters - 1);
      },
      async holderOf(key, asked = 0) {
        const client = clients[asked] as Redis;
        const slot = (await client.cluster('KEYSLOT', key)) as number;
        const ranges = await client.cluster('SLOTS');
        const holder = ranges.find(([first, last]) => first <= slot && slot <= last)?.[2];
        return nodes.findIndex((node) => node.port === holder?.[1]);
      },
      async moveSlot(key, to) {
        const slot = (await clients[to]?.cluster('KEYSLOT', key)) as number;
        return moveSlot({ clients, nodes, slot, from: await cluster.holderOf(key, to), to });
      },
      stop,
    };
    return cluster;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Assigns the slots, introduces the nodes, and waits until each reports ok. */
async function formCluster(
  clients: readonly Redis[],
  nodes: readonly PrivateServer[],
  busPorts: readonly number[],
  masters: number,
): Promise<void> {
  const share = Math.ceil(SLOTS / masters);
  for (const [i, client] of clients.slice(0, masters).entries()) {
    await client.call('CLUSTER', 'ADDSLOTSRANGE', i * share, Math.min((i + 1) * share, SLOTS) - 1);
    // Nodes that meet with the same epoch have to agree on another one first.
    await client.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
  }
  for (const client of clients.slice(1))
    await client.call('CLUSTER', 'MEET', '127.0.0.1', String(nodes[0]?.port), String(busPorts[0]));
  await eventually('every node knows the others', 15_000, async () => {
    const states = await Promise.all(clients.map((client) => client.cluster('INFO')));
    return states.every(
      (state) =>
        /cluster_state:ok/.test(String(state)) &&
        String(state).includes(`cluster_size:${masters}\r`) &&
        String(state).includes(`cluster_known_nodes:${clients.length}\r`),
    );
  });
}

/** The other nodes replicate one master each, and are in step when this returns. */
async function addReplicas(clients: readonly Redis[], masters: number): Promise<void> {
  for (const [i, client] of clients.slice(masters).entries())
    await client.cluster('REPLICATE', (await clients[i]?.cluster('MYID')) as string);
  for (const client of clients.slice(masters))
    await eventually('a replica is in step', 20_000, async () =>
      (await client.info('replication')).includes('master_link_status:up'),
    );
}

/** Keys that are moved in one step. */
const MOVED_AT_ONCE = 100;

async function moveSlot(of: {
  clients: readonly Redis[];
  nodes: readonly PrivateServer[];
  slot: number;
  from: number;
  to: number;
}): Promise<number> {
  const { clients, nodes, slot, from, to } = of;
  const [source, target] = [clients[from], clients[to]] as [Redis, Redis];
  const [sourceId, targetId] = (await Promise.all([source.cluster('MYID'), target.cluster('MYID')])) as [
    string,
    string,
  ];
  await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
  await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
  let moved = 0;
  for (;;) {
    const keys = (await source.cluster('GETKEYSINSLOT', slot, MOVED_AT_ONCE)) as string[];
    if (keys.length === 0) break;
    const way = ['127.0.0.1', String(nodes[to]?.port), '', '0', '5000', 'AUTH', PASSWORD];
    await source.call('MIGRATE', ...way, 'KEYS', ...keys);
    moved += keys.length;
  }
  // The target first: in the other order the slot has no owner for a moment.
  for (const client of [target, source, ...clients.filter((one) => one !== source && one !== target)])
    await client.cluster('SETSLOT', slot, 'NODE', targetId).catch((error: Error) => {
      // A replica learns it from its master.
      if (!/only with masters/.test(error.message)) throw error;
    });
  return moved;
}
