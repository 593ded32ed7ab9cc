/** Failures of Redis during a sale: a master is killed, a master hangs, a slot moves. */
import { setTimeout as pause } from 'node:timers/promises';
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { connectForWork } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import type { RedisCluster } from '../support/redis-cluster.ts';
import type { WatchedRedis } from '../support/redis-sentinel.ts';
import { orderRequest } from '../support/sales.ts';
import type { Underway } from '../support/sell-through.ts';
import { eventually } from '../support/world.ts';

/** ms for which replicas lag before the master dies. */
const BEHIND_MS = 700;
/** ms for which workers freeze before that: orders accepted meanwhile are in Redis only. */
const FROZEN_MS = 300;
/** ms for a failover and what follows. */
const GOES_ON_WITHIN_MS = 60_000;
/** Orders that are sent to the resumed master, one after the other. */
const LATE_ORDERS = 200;

/** The master that has the sale is killed, with the workers frozen just before. */
export async function killHolder(cluster: RedisCluster, { world, saleId, workers, struck }: Underway): Promise<void> {
  const { inventory } = world.keys.sale(saleId);
  const holder = await cluster.holderOf(inventory);
  await whileFrozen(workers, async () => {
    cluster.nodes[holder]?.kill();
    struck();
  });
}

/** The slot of the sale goes to the next master. @returns keys that were moved */
export async function moveSale(cluster: RedisCluster, { world, saleId, struck }: Underway): Promise<number> {
  const { inventory } = world.keys.sale(saleId);
  const holder = await cluster.holderOf(inventory);
  struck();
  return cluster.moveSlot(inventory, (holder + 1) % 3);
}

/** Kills the master, with workers frozen just before. @param behind whether its replicas lag */
export async function killMaster(watched: WatchedRedis, { workers, struck }: Underway, behind: boolean): Promise<void> {
  if (behind) {
    await watched.cutReplicasOff();
    await pause(BEHIND_MS);
  }
  await whileFrozen(workers, async () => {
    watched.servers[0]?.kill();
    struck();
  });
}

/**
 * The master hangs (SIGSTOP) until another one has taken over and sells, and resumes. Then orders
 * are sent to it over a connection that was never cut, as from an API behind a network partition;
 * the accepted ones are enqueued at the new master, as that API would do later.
 *
 * @returns how many it accepted
 */
export async function hangMaster(
  watched: WatchedRedis,
  { world, saleId, accepted, struck }: Underway,
): Promise<number> {
  const [old] = watched.servers;
  if (old?.pid === undefined) throw new Error('the master is gone already');
  const atOld = connectForWork({ url: old.url, name: 'left-behind', log: world.log });
  const atNew = connectForWork({ url: watched.url, name: 'late-enqueue', log: world.log });
  try {
    await atOld.connect();
    const inventory = createInventory({ redis: atOld.redis, keys: world.keys });
    process.kill(old.pid, 'SIGSTOP');
    struck();
    await eventually(
      'another one is the master',
      GOES_ON_WITHIN_MS,
      async () => (await watched.masterPort()) !== old.port,
    );
    const before = accepted.size;
    await eventually('the sale goes on', GOES_ON_WITHIN_MS, () => accepted.size > before + 100);
    process.kill(old.pid, 'SIGCONT');
    const late = await orderFrom(inventory, saleId);
    await atNew.connect();
    const queue = createOrderQueue({ redis: atNew.redis, prefix: world.keys.queuePrefix });
    await queue.add(late);
    await queue.close();
    return late.reduce((sum, { orders }) => sum + orders.length, 0);
  } finally {
    await Promise.all([atOld.close(), atNew.close()]);
  }
}

/** @returns the accepted orders, a batch each */
async function orderFrom(inventory: ReturnType<typeof createInventory>, saleId: string): Promise<OrderBatch[]> {
  const late: OrderBatch[] = [];
  for (let i = 0; i < LATE_ORDERS; i++) {
    const order = orderRequest(saleId, `late-${i}`);
    const decided = await inventory.reserve(saleId, [order], -1, { capacity: 0, refillRate: 1 }).catch(() => null);
    const outcome = decided?.decisions[0]?.outcome;
    if (outcome?.kind !== 'reserved') continue;
    late.push({ saleId, epoch: outcome.epoch, orders: [{ ...order, reservedAt: outcome.reservedAt }] });
  }
  return late;
}

async function whileFrozen(workers: Underway['workers'], work: () => Promise<void>): Promise<void> {
  for (const { child } of workers) child.kill('SIGSTOP');
  await pause(FROZEN_MS);
  await work();
  for (const { child } of workers) child.kill('SIGCONT');
}
