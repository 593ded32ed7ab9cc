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

/** @param count of all sales together, one sale behind the other */
function order(system: BenchSystem, saleIds: readonly string[], count: number, keys = false) {
  runs += 1;
  return openLoop({
    url: system.url,
    path: saleIds.map((saleId) => `/api/flash-sales/${saleId}/order`),
    oneByOne: true,
    run: `c${process.pid.toString(36)}${runs}`,
    rate: null,
    count,
    seconds: 300,
    connections: 200,
    keys,
  });
}

async function orderAll(system: BenchSystem, saleIds: readonly string[], count: number): Promise<void> {
  const { byStatus } = await order(system, saleIds, count);
  if (byStatus['200'] !== count) throw new Error(`${count} orders: ${JSON.stringify(byStatus)}`);
}

/** Sales of each size, so many of the small ones that they can be timed; a size may come again, and then its mean counts. */
export async function costBySize(
  system: BenchSystem,
  sizes: readonly { orders: number; sales: number }[],
): Promise<SizeResult[]> {
  const results: SizeResult[] = [];
  for (const { orders, sales } of sizes) {
    const ids: string[] = [];
    for (let i = 0; i < sales; i++) ids.push(await system.makeSale({ units: orders }));
    const before = system.cpu();
    // Over the same connections, so that small sales do not pay for more of them.
    await orderAll(system, ids, orders * sales);
    for (const id of ids) await system.settled(id);
    const after = system.cpu();
    const us = (part: Part): number => ((after[part] - before[part]) * 1_000) / (orders * sales);
    const byPart = { api: us('api'), worker: us('worker'), redis: us('redis'), postgres: us('postgres') };
    results.push({ orders, sales, byPart, cpuUs: byPart.api + byPart.worker + byPart.redis + byPart.postgres });
  }
  return [...new Set(results.map((one) => one.orders))].map((orders) =>
    meanOf(results.filter((one) => one.orders === orders)),
  );
}

function meanOf(list: readonly SizeResult[]): SizeResult {
  const mean = (value: (one: SizeResult) => number): number =>
    list.reduce((sum, one) => sum + value(one), 0) / list.length;
  const part = (name: Part): number => mean(({ byPart }) => byPart[name]);
  return {
    orders: list[0]?.orders ?? 0,
    sales: list.reduce((sum, { sales }) => sum + sales, 0),
    cpuUs: mean(({ cpuUs }) => cpuUs),
    byPart: { api: part('api'), worker: part('worker'), redis: part('redis'), postgres: part('postgres') },
  };
}

export interface RedisCost {
  /** Commands that Redis carries out for an order, within scripts and without; and calls of scripts. */
  readonly commands: number;
  readonly scriptCalls: number;
  readonly aofBytes: number;
  readonly ledgerBytes: number;
}

async function redisNumbers(system: BenchSystem): Promise<Map<string, number>> {
  const sections = ['commandstats', 'persistence', 'memory'];
  const text = (await Promise.all(sections.map((section) => system.redis.info(section)))).join('\r\n');
  const numbers = new Map<string, number>();
  for (const [, name, calls] of text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
    numbers.set('commands', (numbers.get('commands') ?? 0) + Number(calls));
    if (name === 'evalsha') numbers.set('scripts', Number(calls));
  }
  for (const [, name, value] of text.matchAll(/^(aof_current_size|used_memory):(\d+)/gm))
    numbers.set(String(name), Number(value));
  return numbers;
}

export async function redisCost(system: BenchSystem, orders: number): Promise<RedisCost> {
  const saleId = await system.makeSale();
  const ledgerSize = async (): Promise<number> =>
    Number((await system.ledger.query("SELECT pg_total_relation_size('orders') AS size")).rows[0].size);
  // A file that is written anew in between would have no size to compare.
  await system.redis.config('SET', 'auto-aof-rewrite-percentage', '0');
  const [sizeBefore, before] = [await ledgerSize(), await redisNumbers(system)];
  await orderAll(system, [saleId], orders);
  await system.settled(saleId);
  const [sizeAfter, after] = [await ledgerSize(), await redisNumbers(system)];
  await system.redis.config('SET', 'auto-aof-rewrite-percentage', '100');
  const grown = (name: string): number => ((after.get(name) ?? 0) - (before.get(name) ?? 0)) / orders;
  return {
    commands: grown('commands'),
    scriptCalls: grown('scripts'),
    aofBytes: grown('aof_current_size'),
    ledgerBytes: (sizeAfter - sizeBefore) / orders,
  };
}

export interface MemoryResult {
  /** Bytes of Redis for an order that is reserved: its reservation. */
  readonly inInventory: number;
  /** With what its buyer holds and its part of a job. Buckets, which last for seconds, are not in it. */
  readonly perLiveOrder: number;
  /** For an order that is confirmed: what its buyer holds. */
  readonly perConfirmedOrder: number;
  /** Bytes that Redis grew by over so many refusals, each of which asked the inventory. */
  readonly refusals: number;
  readonly grownByRefusals: number;
}

/** On a system of its own, whose worker begins only after all was ordered. */
export async function memoryOfOrders(count: number): Promise<MemoryResult> {
  const system = await BenchSystem.start({ workers: 0 });
  const used = async (): Promise<number> => (await redisNumbers(system)).get('used_memory') ?? 0;
  const usageOf = async (saleId: string, key: string): Promise<number> =>
    Number((await system.redis.call('MEMORY', 'USAGE', `flash-sale:{${saleId}}:${key}`, 'SAMPLES', '0')) ?? 0);
  try {
    const soldOut = await system.makeSale({ units: 1 });
    await orderAll(system, [soldOut], 1);
    const saleId = await system.makeSale();
    // What is made once, and what a process and its connections take as they begin to work.
    await orderAll(system, [saleId], 1_000);
    await refuseAll(system, soldOut, 1_000);
    await bucketsAreGone(system, [soldOut, saleId]);
    const empty = await used();
    await orderAll(system, [saleId], count);
    await bucketsAreGone(system, [soldOut, saleId]);
    const live = await used();
    await refuseAll(system, soldOut, count);
    await bucketsAreGone(system, [soldOut, saleId]);
    const refused = await used();
    const held = await usageOf(saleId, 'buyers');
    const inInventory = await usageOf(saleId, 'reservations');
    return {
      inInventory: inInventory / (count + 1_000),
      perLiveOrder: (live - empty) / count,
      perConfirmedOrder: held / (count + 1_000),
      refusals: count,
      grownByRefusals: refused - live,
    };
  } finally {
    await system.stop();
  }
}

/** With a key of its own each, so that the inventory must be asked. @throws where one of them was accepted */
async function refuseAll(system: BenchSystem, saleId: string, count: number): Promise<void> {
  const { byStatus } = await order(system, [saleId], count, true);
  if (byStatus['400'] !== count) throw new Error(`${count} refusals: ${JSON.stringify(byStatus)}`);
}

/** Buckets of buyers who asked once are full again after a moment, and go; their memory is freed beside Redis' own thread. @throws where they stay */
async function bucketsAreGone(system: BenchSystem, saleIds: readonly string[]): Promise<void> {
  const names = saleIds.flatMap((id) => [`flash-sale:{${id}}:buckets:0`, `flash-sale:{${id}}:buckets:1`]);
  for (let i = 0; i < 60; i++) {
    const areThere = (await system.redis.exists(...names)) > 0;
    const areBeingFreed = !/^lazyfree_pending_objects:0\r?$/m.test(await system.redis.info('memory'));
    if (!areThere && !areBeingFreed) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  throw new Error('buckets were still there after 30 s');
}
