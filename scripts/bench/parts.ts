/**
 * The measurements of the bench. Rates are also recorded as ratios to the bare server in the same
 * round.
 */
import { type BenchSystem, PARTS, type Part } from './bench-system.ts';
import { generate, type Plan, percentiles, type Result } from './generator.ts';
import { residentMb } from './processes.ts';

export interface Run {
  readonly system: BenchSystem;
  readonly rounds: number;
  /** Duration of each load. */
  readonly seconds: number;
  /** Orders a second that are 100 % in the open loops. */
  readonly capacity: number;
  record(figure: string, value: number): void;
}

const CONNECTIONS = 200;
/** Orders per measurement of the cost. */
const COUNTED = 20_000;
const DROP_UNITS = 50_000;
const DROP_SECONDS = 60;
const WARM_UP_SECONDS = 0.5;
const IDLE_MS = 12_000;
/** Most orders that one buyer's bucket accepts before the buyer is rate limited. */
const BUCKET = 250;

/** Requests of the closed loop, and the reply that nearly all of them must get. */
const KINDS = {
  accepted: { reply: '200', plan: {} },
  'sold out': { reply: 'SOLD_OUT', plan: {} },
  'rate limited': { reply: 'BUYER_RATE_LIMITED', plan: { buyers: 1 } },
  replayed: { reply: '200', plan: { buyers: 100, keys: true } },
};
type Kind = keyof typeof KINDS;

let runs = 0;
const load = (url: string, saleId: string, plan: Partial<Plan>): Promise<Result> =>
  generate({ url, saleId, connections: CONNECTIONS, seconds: 2, run: `r${++runs}`, ...plan });

const rateOf = ({ sent, unanswered, seconds }: Result): number => (sent - unanswered) / seconds;

/** @throws if the replies are not those that were to be measured */
function mustBe(what: string, reply: string, { sent, replies }: Result): void {
  if ((replies[reply] ?? 0) < sent * 0.99 - BUCKET)
    throw new Error(`${what}: ${sent} requests, ${JSON.stringify(replies)}`);
}

/** Runs until JIT compilation is stable. @returns accepted orders a second */
export async function warmUp(system: BenchSystem, seconds: number): Promise<number> {
  let rate = 0;
  const [sale, soldOut] = [await system.createSale(), await system.createSale(1)];
  for (const saleId of [soldOut, sale, sale]) {
    await load(system.facts.bareUrl, 'bench', { seconds: 1 });
    rate = rateOf(await load(system.facts.url, saleId, { seconds }));
    await system.settled(saleId);
  }
  return rate;
}

/** Resident memory of the API after idle seconds, and under load. */
export async function memory({ system, seconds, record }: Run): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  record('API memory when idle, MB', residentMb(system.pid('api')));
  const saleId = await system.createSale();
  for (let i = 0; i < 3; i++) {
    await load(system.facts.bareUrl, 'bench', { connections: 500, seconds });
    await load(system.facts.url, saleId, { connections: 500, seconds });
    await system.settled(saleId);
  }
  const [api, bare] = [residentMb(system.pid('api')), residentMb(system.facts.services.bare.pid ?? 0)];
  record('API memory, 500 connections, MB', api);
  record('API ÷ bare memory, 500 connections', api / bare);
}

/**
 * The first 3 s of processes that have not answered anything yet, by 100 ms, and their first second
 * against a second of warm ones.
 */
export async function cold({ system, seconds, record }: Run): Promise<void> {
  const plan = { seconds: 3, sliceMs: 100 };
  const fresh = {
    orders: (await load(system.facts.url, await system.createSale(), plan)).slices,
    bare: (await load(system.facts.bareUrl, 'bench', plan)).slices,
  };
  for (let i = 0; i < (plan.seconds * 1_000) / plan.sliceMs; i++)
    for (const [name, slices] of Object.entries(fresh)) {
      const { p50, p99 } = percentiles(slices[i] ?? []);
      const slice = `cold, ${i * plan.sliceMs} ms, ${name}`;
      record(slice, slices[i]?.length ?? 0);
      record(`${slice}, p50 ms`, p50);
      record(`${slice}, p99 ms`, p99);
    }
  await warmUp(system, seconds);
  const warm = {
    orders: await load(system.facts.url, await system.createSale(), { seconds: 1 }),
    bare: await load(system.facts.bareUrl, 'bench', { seconds: 1 }),
  };
  for (const name of ['orders', 'bare'] as const) {
    const first = fresh[name].slice(0, 1_000 / plan.sliceMs).flat();
    record(`cold, first second, ${name} ÷ warm`, first.length / rateOf(warm[name]));
    record(`cold, first second, ${name}, p99 ÷ warm`, percentiles(first).p99 / warm[name].p99);
  }
}

/** Closed loop: requests a second, alternating with the bare server. */
export async function closed({ system, rounds, seconds, record }: Run): Promise<void> {
  const [soldOut, open] = [await system.createSale(1), await system.createSale()];
  for (const connections of [50, CONNECTIONS]) {
    const kinds: Kind[] = ['accepted', 'sold out'];
    if (connections === CONNECTIONS) kinds.push('rate limited', 'replayed');
    const bareRate = async () => rateOf(await load(system.facts.bareUrl, 'bench', { connections, seconds }));
    let before = await bareRate();
    for (let round = 0; round < rounds; round++) {
      for (const kind of kinds) {
        const saleId = kind === 'sold out' ? soldOut : kind === 'accepted' ? await system.createSale() : open;
        const { reply, plan } = KINDS[kind];
        const result = await load(system.facts.url, saleId, { connections, seconds, ...plan });
        mustBe(kind, reply, result);
        if (kind === 'accepted') await system.settled(saleId);
        const after = await bareRate();
        record(`${kind}/s, ${connections} connections`, rateOf(result));
        record(`${kind}/s ÷ bare/s, ${connections} connections`, (rateOf(result) * 2) / (before + after));
        before = after;
      }
    }
  }
}

/** Open loop: latency of accepted orders at 25, 50 and 75 % of the capacity. */
export async function open({ system, rounds, seconds, capacity, record }: Run): Promise<void> {
  for (const part of [0.25, 0.5, 0.75]) {
    const plan = { rate: Math.round(capacity * part), seconds, warmUpSeconds: WARM_UP_SECONDS };
    for (let round = 0; round < rounds; round++) {
      const bare = await load(system.facts.bareUrl, 'bench', plan);
      const saleId = await system.createSale();
      const result = await load(system.facts.url, saleId, plan);
      await system.settled(saleId);
      record(`p50 ms at ${part * 100} % of capacity`, result.p50);
      record(`p99 ms at ${part * 100} % of capacity`, result.p99);
      record(`p99 ÷ bare p99 at ${part * 100} % of capacity`, result.p99 / bare.p99);
    }
  }
}

/**
 * A complete sale: from the first request until the ledger has confirmed the last unit; a third of
 * the requests is refused.
 */
export async function drop({ system, rounds, seconds, record }: Run): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const bare = await load(system.facts.bareUrl, 'bench', { seconds });
    const saleId = await system.createSale(DROP_UNITS);
    const startedAt = performance.now();
    const crowd = load(system.facts.url, saleId, { seconds: DROP_SECONDS, count: DROP_UNITS * 1.5 });
    while ((await system.soldInLedger(saleId)) < DROP_UNITS) {
      if (performance.now() - startedAt > DROP_SECONDS * 1_000) throw new Error(`the drop took over ${DROP_SECONDS} s`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const rate = DROP_UNITS / ((performance.now() - startedAt) / 1_000);
    await crowd;
    record(`drop of ${DROP_UNITS}: confirmed/s`, rate);
    record(`drop of ${DROP_UNITS}: confirmed/s ÷ bare/s`, rate / rateOf(bare));
  }
}

/** CPU time of an order and of a refusal, commands and bytes of an order. */
export async function cost({ system, rounds, record }: Run): Promise<void> {
  const soldOut = await system.createSale(1);
  await load(system.facts.url, soldOut, { count: 1 });
  // Disabled, because a rewrite would change the size that is compared.
  await system.redis.config('SET', 'auto-aof-rewrite-percentage', '0');
  for (let round = 0; round < rounds; round++) {
    const saleId = await system.createSale();
    const [cpu, redis, ledgerBytes] = [system.cpu(), await redisNumbers(system), await ledgerSize(system)];
    await countedLoad(system, saleId, '200');
    await system.settled(saleId);
    const used = cpuSince(system, cpu);
    for (const part of PARTS) record(`CPU µs an order, ${part}`, used[part]);
    record('CPU µs an order, all', used.api + used.worker + used.redis + used.postgres);
    const after = await redisNumbers(system);
    record('Redis commands an order', (after.commands - redis.commands) / COUNTED);
    record('Redis file bytes an order', (after.fileBytes - redis.fileBytes) / COUNTED);
    record('ledger bytes an order', ((await ledgerSize(system)) - ledgerBytes) / COUNTED);
    record('Redis memory bytes, confirmed order', (await memoryOfSale(system, saleId)) / COUNTED);

    const cpuBefore = system.cpu();
    await countedLoad(system, soldOut, 'SOLD_OUT');
    record('CPU µs a sold-out refusal, API', cpuSince(system, cpuBefore).api);
  }
  const live = await system.createSale();
  process.kill(system.pid('worker'), 'SIGSTOP');
  await countedLoad(system, live, '200');
  record('Redis memory bytes, reserved order', (await memoryOfSale(system, live)) / COUNTED);
  process.kill(system.pid('worker'), 'SIGCONT');
  await system.settled(live);
}

async function countedLoad(system: BenchSystem, saleId: string, reply: string): Promise<void> {
  const result = await load(system.facts.url, saleId, { count: COUNTED, seconds: DROP_SECONDS });
  if (result.replies[reply] !== COUNTED) throw new Error(`${COUNTED} requests: ${JSON.stringify(result.replies)}`);
}

/** µs for each of the counted orders. */
function cpuSince(system: BenchSystem, before: Record<Part, number>): Record<Part, number> {
  const after = system.cpu();
  const us = (part: Part): number => ((after[part] - before[part]) * 1_000) / COUNTED;
  return { api: us('api'), worker: us('worker'), redis: us('redis'), postgres: us('postgres') };
}

async function redisNumbers({ redis }: BenchSystem): Promise<{ commands: number; fileBytes: number }> {
  const stats = await redis.info('commandstats');
  const commands = [...stats.matchAll(/^cmdstat_\S+?:calls=(\d+)/gm)].reduce(
    (sum, [, calls]) => sum + Number(calls),
    0,
  );
  const persistence = await redis.info('persistence');
  return { commands, fileBytes: Number(/^aof_current_size:(\d+)/m.exec(persistence)?.[1]) };
}

async function ledgerSize({ ledger }: BenchSystem): Promise<number> {
  const { rows } = await ledger.query("SELECT pg_total_relation_size('orders') AS size");
  return Number(rows[0].size);
}

/** Bytes of the sale's keys that stay; buckets, which last for seconds, are left out. */
async function memoryOfSale({ redis }: BenchSystem, saleId: string): Promise<number> {
  let bytes = 0;
  for (const key of await redis.keys(`*{${saleId}}*`))
    if ((await redis.pttl(key)) === -1) bytes += Number(await redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0'));
  return bytes;
}
