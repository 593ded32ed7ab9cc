/** What an order costs: CPU time in small and large sales, Redis commands and bytes, memory. */
import { BenchSystem, type Part } from './bench-system.ts';
import { openLoop } from './open-loop.ts';

export interface SizeResult {
  /** Orders in one sale. */
  readonly orders: number;
  readonly sales: number;
  /** µs for an order, of all parts together and of each. */
  readonly cpuUs: number;
  readonly byPart: Record<Part, number>;
}

let runs = 0;

function order(system: BenchSystem, saleId: string, count: number) {
  runs += 1;
  return openLoop({
    url: system.url,
    path: `/api/flash-sales/${saleId}/order`,
    run: `c${process.pid.toString(36)}${runs}`,
    rate: null,
    count,
    seconds: 300,
    connections: 200,
  });
}

async function orderAll(system: BenchSystem, saleId: string, count: number): Promise<void> {
  const { byStatus } = await order(system, saleId, count);
  if (byStatus['200'] !== count) throw new Error(`${count} orders: ${JSON.stringify(byStatus)}`);
}

/** Sales of each size, so many of the small ones that they can be timed. */
export async function costBySize(
  system: BenchSystem,
  sizes: readonly { orders: number; sales: number }[],
): Promise<SizeResult[]> {
  const results: SizeResult[] = [];
  for (const { orders, sales } of sizes) {
    const ids: string[] = [];
    for (let i = 0; i < sales; i++) ids.push(await system.makeSale({ units: orders }));
    const before = system.cpu();
    for (const id of ids) {
      await orderAll(system, id, orders);
      await system.settled(id);
    }
    const after = system.cpu();
    const us = (part: Part): number => ((after[part] - before[part]) * 1_000) / (orders * sales);
    const byPart = { api: us('api'), worker: us('worker'), redis: us('redis'), postgres: us('postgres') };
    results.push({ orders, sales, byPart, cpuUs: byPart.api + byPart.worker + byPart.redis + byPart.postgres });
  }
  return results;
}

export interface RedisCost {
  /** Commands for an order: those that clients send, and those within scripts. */
  readonly clientCommands: number;
  readonly scriptCommands: number;
  readonly aofBytes: number;
  readonly ledgerBytes: number;
}

async function redisNumbers(system: BenchSystem): Promise<Map<string, number>> {
  const text = `${await system.redis.info('commandstats')}${await system.redis.info('persistence')}${await system.redis.info('memory')}`;
  const numbers = new Map<string, number>();
  for (const [, name, calls] of text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm))
    numbers.set(String(name), Number(calls));
  for (const [, name, value] of text.matchAll(/^(aof_current_size|used_memory):(\d+)/gm))
    numbers.set(String(name), Number(value));
  return numbers;
}

/** What clients send by themselves; everything else is called in scripts. */
const SENT_BY_CLIENTS =
  /^(evalsha|eval|ping|info|client\||multi|exec|script\||publish|psubscribe|hello|auth|select|config\||bzpopmin|command|set|get|pexpire)$/;

export async function redisCost(system: BenchSystem, orders: number): Promise<RedisCost> {
  const saleId = await system.makeSale();
  const ledgerSize = async (): Promise<number> =>
    Number((await system.ledger.query("SELECT pg_total_relation_size('orders') AS size")).rows[0].size);
  const [sizeBefore, before] = [await ledgerSize(), await redisNumbers(system)];
  await orderAll(system, saleId, orders);
  await system.settled(saleId);
  const [sizeAfter, after] = [await ledgerSize(), await redisNumbers(system)];
  let [clients, scripts] = [0, 0];
  for (const [name, count] of after) {
    if (name === 'aof_current_size' || name === 'used_memory') continue;
    const calls = count - (before.get(name) ?? 0);
    if (SENT_BY_CLIENTS.test(name)) clients += calls;
    else scripts += calls;
  }
  return {
    clientCommands: clients / orders,
    scriptCommands: scripts / orders,
    aofBytes: ((after.get('aof_current_size') ?? 0) - (before.get('aof_current_size') ?? 0)) / orders,
    ledgerBytes: (sizeAfter - sizeBefore) / orders,
  };
}

export interface MemoryResult {
  /** Bytes of Redis for an order that is reserved and in a job, with everything that is kept of it. */
  readonly perLiveOrder: number;
  /** For an order that is confirmed: what its buyer holds. */
  readonly perConfirmedOrder: number;
  /** Bytes that Redis grew by over so many refusals. */
  readonly refusals: number;
  readonly grownByRefusals: number;
}

/** On a system of its own, whose worker begins only after all was ordered. */
export async function memoryOfOrders(count: number): Promise<MemoryResult> {
  const system = await BenchSystem.start({ workers: 0 });
  const used = async (): Promise<number> => (await redisNumbers(system)).get('used_memory') ?? 0;
  try {
    const soldOut = await system.makeSale({ units: 1 });
    await orderAll(system, soldOut, 1);
    const saleId = await system.makeSale();
    // What is made once, and what a process and its connections take as they begin to work.
    await orderAll(system, saleId, 1_000);
    await bucketsAreGone(system);
    const empty = await used();
    await orderAll(system, saleId, count);
    await bucketsAreGone(system);
    const live = await used();
    await order(system, soldOut, count);
    await bucketsAreGone(system);
    const refused = await used();
    await system.addWorker();
    await system.settled(saleId);
    await system.redis.call('MEMORY', 'PURGE');
    return {
      perLiveOrder: (live - empty) / count,
      perConfirmedOrder:
        ((await system.redis.call('MEMORY', 'USAGE', `flash-sale:{${saleId}}:buyers`, 'SAMPLES', '0')) as number) /
        (count + 1_000),
      refusals: count,
      grownByRefusals: refused - live,
    };
  } finally {
    await system.stop();
  }
}

/** Buckets of buyers who asked once are full again after a moment, and go. */
async function bucketsAreGone(system: BenchSystem): Promise<void> {
  for (let i = 0; i < 60; i++) {
    const expiring = Number(/^db0:keys=\d+,expires=(\d+)/m.exec(await system.redis.info('keyspace'))?.[1] ?? 0);
    // The worker's sign, the window, the catalogue.
    if (expiring <= 3) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
