/**
 * A Redis Cluster of one and of three masters: what an order costs on each node, with sales that lie on all of them. On two cores more
 * masters give no more throughput; what is seen is whether an order costs more, and how its commands spread.
 *
 *   node scripts/bench/cluster.ts [--orders 2000]    (prints the result; `npm run bench -- --only cluster` does the same with more)
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { BenchSystem } from './bench-system.ts';
import { openLoop } from './open-loop.ts';

export interface ClusterResult {
  /** 0: one plain Redis. */
  readonly masters: number;
  readonly orders: number;
  readonly sales: number;
  /** µs of CPU time for an order. */
  readonly cpuUs: { readonly api: number; readonly worker: number; readonly postgres: number };
  readonly nodes: readonly ClusterNode[];
}

export interface ClusterNode {
  /** That lie on it. */
  readonly sales: number;
  /** Whether the queue, and the window of the whole system, lie on it. */
  readonly queue: boolean;
  readonly window: boolean;
  /** µs of CPU time of this node for an order of the whole run. */
  readonly cpuUs: number;
  /** Commands for an order of the whole run, those within scripts included; and how many of them run a script. */
  readonly commands: number;
  readonly scriptCalls: number;
  /** total_commands_processed: what came over connections, without those within scripts. */
  readonly processed: number;
}

const SALES = 6;
/** KEY_PREFIX as it comes. */
const PREFIX = 'flash-sale';

/** @param orders of a measured run, of all sales together; a tenth of it is ordered before, until all is compiled */
export async function clusterRounds(
  steps: readonly (0 | 1 | 3)[],
  { orders }: { orders: number },
): Promise<ClusterResult[]> {
  const results: ClusterResult[] = [];
  for (const masters of steps) {
    const system = await BenchSystem.start({ redisMasters: masters });
    const clients = system.servers.redisNodes.map(({ url }) => new Redis(url));
    try {
      results.push(await measure(system, clients, orders));
    } finally {
      for (const client of clients) client.disconnect();
      await system.stop();
    }
  }
  return results;
}

async function measure(system: BenchSystem, clients: readonly Redis[], orders: number): Promise<ClusterResult> {
  const nodeOf = async (key: string): Promise<number> => (await system.servers.cluster?.nodeOf(key)) ?? 0;
  const saleIds: string[] = [];
  const salesOf = clients.map(() => 0);
  // As many on each node.
  for (let i = 1; saleIds.length < SALES; i++) {
    const node = await nodeOf(`${PREFIX}:{cluster${i}}:inventory`);
    if ((salesOf[node] ?? 0) >= SALES / clients.length) continue;
    salesOf[node] = (salesOf[node] ?? 0) + 1;
    saleIds.push(await system.makeSale({ id: `cluster${i}` }));
  }
  const queueNode = await nodeOf(`{${PREFIX}}:confirm-orders:wait`);
  const windowNode = await nodeOf(`${PREFIX}:{system}:window`);
  await orderAll(system, saleIds, 'warm', Math.max(SALES, Math.floor(orders / 10)));

  const [cpuBefore, redisBefore, statsBefore] = [
    system.cpu(),
    system.redisCpu(),
    await Promise.all(clients.map(stats)),
  ];
  const placed = await orderAll(system, saleIds, 'measured', orders);
  const [cpu, redisCpu, statsAfter] = [system.cpu(), system.redisCpu(), await Promise.all(clients.map(stats))];
  const perOrder = (after = 0, before = 0, factor = 1): number => ((after - before) * factor) / placed;
  return {
    masters: system.servers.cluster ? clients.length : 0,
    orders: placed,
    sales: SALES,
    cpuUs: {
      api: perOrder(cpu.api, cpuBefore.api, 1_000),
      worker: perOrder(cpu.worker, cpuBefore.worker, 1_000),
      postgres: perOrder(cpu.postgres, cpuBefore.postgres, 1_000),
    },
    nodes: clients.map((_, i) => ({
      sales: salesOf[i] ?? 0,
      queue: queueNode === i,
      window: windowNode === i,
      cpuUs: perOrder(redisCpu[i], redisBefore[i], 1_000),
      commands: perOrder(statsAfter[i]?.commands, statsBefore[i]?.commands),
      scriptCalls: perOrder(statsAfter[i]?.scriptCalls, statsBefore[i]?.scriptCalls),
      processed: perOrder(statsAfter[i]?.processed, statsBefore[i]?.processed),
    })),
  };
}

/** A closed loop on all sales at once, as many orders in each, and waits until the last is settled. @returns how many were placed */
async function orderAll(system: BenchSystem, saleIds: readonly string[], run: string, orders: number): Promise<number> {
  const count = Math.floor(orders / saleIds.length);
  const found = await openLoop({
    url: system.url,
    path: saleIds.map((saleId) => `/api/flash-sales/${saleId}/order`),
    run,
    rate: null,
    count: count * saleIds.length,
    seconds: 300,
    connections: 60,
  });
  if (found.byStatus['200'] !== count * saleIds.length)
    throw new Error(`${run}: ${count * saleIds.length} orders: ${JSON.stringify(found.byStatus)}`);
  for (const saleId of saleIds) await system.settled(saleId);
  return count * saleIds.length;
}

async function stats(client: Redis): Promise<{ commands: number; scriptCalls: number; processed: number }> {
  const text = `${await client.info('commandstats')}${await client.info('stats')}`;
  let [commands, scriptCalls] = [0, 0];
  for (const [, name, calls] of text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
    // Our own looks.
    if (name === 'info') continue;
    commands += Number(calls);
    if (name === 'evalsha' || name === 'eval') scriptCalls += Number(calls);
  }
  return { commands, scriptCalls, processed: Number(/^total_commands_processed:(\d+)/m.exec(text)?.[1] ?? 0) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { orders: { type: 'string', default: '2000' } } });
  process.stdout.write(
    `${JSON.stringify(await clusterRounds([0, 1, 3], { orders: Number(values.orders) }), null, 2)}\n`,
  );
}
