/**
 * How fast this is, as ratios to a bare Fastify within the same run. Under ten minutes; every part is bounded and ends by itself.
 *   1. Closed loops of 10, 50, 200 and 500 connections (capacity).
 *   2. Whole drops of 50,000 units.
 *   3. Open loops at 25, 50 and 75 % of the capacity that was found (latency), and at twice the capacity (backpressure).
 *   4. CPU time for an order in sales of 1,000 to 1,000,000 orders; commands and bytes; memory.
 *   5. More API and worker processes.
 *   6. A Redis Cluster of one and of three masters, with sales on each.
 *
 *   npm run bench -- [--rounds 5] [--seconds 2] [--only closed,drop,open,pressure,sizes,memory,scale,cluster] [--write]
 *
 * With --write docs/measurements/speed.{json,md,svg} are made; that takes a whole run. Needs Linux (/proc) and wrk.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { BenchSystem } from './bench/bench-system.ts';
import { type ClosedResult, closedRounds, type Kind } from './bench/closed-rounds.ts';
import { clusterRounds } from './bench/cluster.ts';
import { costBySize, memoryOfOrders, redisCost } from './bench/cost.ts';
import { openRounds, PRESSURE_IN_FLIGHT, pressureRounds } from './bench/open-rounds.ts';
import { page } from './bench/page.ts';
import { plot } from './bench/plot.ts';
import { type BenchResults, constantsOf } from './bench/results.ts';
import { scaleOut } from './bench/scale.ts';
import { inWords } from './bench/spread.ts';
import { wholeDrops } from './bench/whole-drop.ts';
import { commitNow, thisMachine } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const PARTS = ['closed', 'drop', 'open', 'pressure', 'sizes', 'memory', 'scale', 'cluster'];
/** Of each number of masters: enough for ticks of 10 ms not to matter. */
const CLUSTER_ORDERS = 30_000;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = readArguments(import.meta.url, {
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    only: { type: 'string', default: PARTS.join(',') },
    write: { type: 'boolean', default: false },
  },
});
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
const parts = new Set(values.only.split(','));
const strange = [...parts].filter((part) => !PARTS.includes(part));
if (!(rounds >= 1) || !Number.isInteger(seconds) || strange.length > 0)
  stop(`There is no part ${strange}. Parts: ${PARTS.join(', ')}.`);
if (values.write && parts.size < PARTS.length) stop('--write needs a whole run: leave --only out.');
if (process.platform !== 'linux') stop('The bench reads CPU times from /proc, which only Linux has.');
// Its exit code for --version is 1.
if ((await runCommand('wrk', ['--version'])).code === 127)
  stop('The closed loops are played by wrk, which is not on PATH. Install it: "apt install wrk".');

const startedAt = Date.now();
const say = (line: string): void =>
  void process.stdout.write(`${((Date.now() - startedAt) / 1_000).toFixed(0).padStart(4)} s  ${line}\n`);
const found: Partial<Record<keyof BenchResults, unknown>> = {};
let capacity = 0;
const system = await BenchSystem.start();
try {
  found.startMs = system.startMs;
  found.servers = [system.servers.redis.what, system.servers.postgres.what];
  // Until it is compiled: what comes later is measured.
  await closedRounds(system, {
    connections: 200,
    rounds: 1,
    seconds,
    kinds: ['accepted', 'sold_out', 'limited', 'replayed'],
  });
  await closedRounds(system, { connections: 200, rounds: 2, seconds, kinds: ['accepted'] });
  capacity = parts.has('closed') ? await closedLoops() : await quickCapacity();
  if (parts.has('drop')) {
    const drop = await wholeDrops(system, { units: 50_000, rounds, seconds, connections: 200 });
    found.drop = drop;
    say(`drop of ${drop.units}: ${inWords(drop.rate, 0)} orders/s in the ledger, ${inWords(drop.ratio)} of bare`);
  }
  if (parts.has('open')) {
    const open = await openRounds(system, { capacity, parts: [0.25, 0.5, 0.75], rounds, seconds });
    found.open = open;
    for (const one of open) {
      say(
        `open ${one.part * 100} %: p99 ${inWords(one.p99, 1)} ms, bare ${inWords(one.bareP99, 1)}, ratio ${inWords(one.ratio)}`,
      );
    }
  }
} finally {
  await system.stop();
}
if (parts.has('sizes')) {
  // Of its own: what earlier parts left behind is worked off beside it.
  const alone = await BenchSystem.start();
  try {
    await closedRounds(alone, { connections: 200, rounds: 3, seconds, kinds: ['accepted'] });
    found.redis = await redisCost(alone, 20_000);
    say(`an order: ${JSON.stringify(found.redis)}`);
    const sizes = [
      { orders: 10_000, sales: 5 },
      { orders: 100_000, sales: 1 },
      { orders: 1_000, sales: 50 },
      { orders: 1_000_000, sales: 1 },
      { orders: 1_000, sales: 50 },
      { orders: 100_000, sales: 1 },
      { orders: 10_000, sales: 5 },
    ];
    const costs = await costBySize(alone, sizes);
    costs.sort((a, b) => a.orders - b.orders);
    found.sizes = costs;
    for (const { orders, cpuUs } of costs) say(`${orders} orders in a sale: ${cpuUs.toFixed(1)} µs of CPU an order`);
  } finally {
    await alone.stop();
  }
}
if (parts.has('pressure')) {
  // As an operator would set it who wants short answers above all: what waits longer than some tens of milliseconds is shed.
  const bounded = await BenchSystem.start({ settings: { OVERLOAD_IN_FLIGHT: String(PRESSURE_IN_FLIGHT) } });
  try {
    const pressure = await pressureRounds(bounded, { capacity, rounds: 3, seconds: 4 });
    found.pressure = pressure;
    say(
      `twice the capacity: ${inWords(pressure.accepted, 0)}/s accepted, p99 ${inWords(pressure.p99, 0)} ms; best ${inWords(pressure.best, 0)}/s, p99 ${inWords(pressure.bestP99, 0)} ms; shed ${inWords(pressure.shed)}`,
    );
  } finally {
    await bounded.stop();
  }
}
if (parts.has('memory')) {
  found.memory = await memoryOfOrders(100_000);
  say(`memory: ${JSON.stringify(found.memory)}`);
}
if (parts.has('scale')) {
  const steps = [1, 2, 4].map((count) => ({ apis: count, workers: count }));
  const scale = await scaleOut(steps, { rounds: 2, seconds });
  found.scale = scale;
  for (const one of scale)
    say(`${one.apis} APIs, ${one.workers} workers: ${JSON.stringify(one.cpuUs)} µs, ratio ${one.ratio.toFixed(2)}`);
}
if (parts.has('cluster')) {
  const cluster = await clusterRounds([0, 1, 3], { orders: CLUSTER_ORDERS });
  found.cluster = cluster;
  for (const { masters, cpuUs, nodes } of cluster)
    say(
      `${masters || 'no'} masters: ${JSON.stringify(cpuUs)} µs; commands an order by node: ${nodes.map(({ commands }) => commands.toFixed(2)).join(' + ')}`,
    );
}
say('done');
if (values.write) write();

async function closedLoops(): Promise<number> {
  const closed: ClosedResult[] = [];
  for (const connections of [10, 50, 200, 500]) {
    const kinds: Kind[] = ['accepted', 'sold_out', ...(connections === 200 ? (['limited', 'replayed'] as const) : [])];
    const result = await closedRounds(system, { connections, rounds, seconds, kinds });
    closed.push(result);
    for (const [kind, { ratio, rate }] of Object.entries(result.kinds)) {
      say(
        `${connections} connections, ${kind}: ${inWords(ratio)} of bare (${rate.median.toFixed(0)} of ${result.bare.rate.median.toFixed(0)}/s)`,
      );
    }
  }
  found.closed = closed;
  return closed.find(({ connections }) => connections === 200)?.kinds.accepted?.rate.median ?? 0;
}

async function quickCapacity(): Promise<number> {
  const { kinds } = await closedRounds(system, { connections: 200, rounds: 1, seconds, kinds: ['accepted'] });
  return kinds.accepted?.rate.median ?? 0;
}

function write(): void {
  const facts = {
    ...found,
    at: new Date().toISOString().slice(0, 10),
    commit: commitNow(),
    machine: thisMachine(),
    generator: 'wrk (closed loops), scripts/bench/open-loop.ts (open loops, exact numbers of orders)',
    fsync: 'Redis appendfsync everysec; PostgreSQL fsync on, synchronous_commit on',
    command: `npm run bench -- --rounds ${rounds} --seconds ${seconds} --write`,
  } as Omit<BenchResults, 'constants'>;
  const results: BenchResults = { ...facts, constants: constantsOf(facts) };
  const folder = join(root, 'docs', 'measurements');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'speed.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(folder, 'speed.svg'), plot(results));
  writeFileSync(join(folder, 'speed.md'), page(results));
}

function stop(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}
