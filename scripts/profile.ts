/**
 * Where the time goes, under 200 connections: CPU profiles of the API and of the worker as flame graphs, and what Redis did. Writes
 * docs/measurements/flame-api.svg, flame-worker.svg and profile.md.
 *
 *   npm run bench:profile -- [--seconds 5]
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BenchSystem } from './bench/bench-system.ts';
import { closedLoop } from './bench/closed-loop.ts';
import { type CpuProfile, flameGraph, selfTimes } from './bench/flame-graph.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = readArguments(import.meta.url, { options: { seconds: { type: 'string', default: '5' } } });
const seconds = Number(values.seconds);
const folder = join(root, 'docs', 'measurements');
mkdirSync(folder, { recursive: true });

interface Profiled {
  readonly orders: number;
  readonly profile: CpuProfile;
  /** Lines of INFO commandstats for an order, the dearest first. */
  readonly commands: readonly { name: string; calls: number; us: number }[];
  readonly latency: string;
}

async function profileOf(process: 'api' | 'worker'): Promise<Profiled> {
  const profiles = mkdtempSync(join(tmpdir(), 'flash-sale-profile-'));
  const args = ['--cpu-prof', '--cpu-prof-interval=250', `--cpu-prof-dir=${profiles}`];
  try {
    const system = await BenchSystem.start({ nodeArgs: { [process]: args } });
    let orders = 0;
    let commands: Profiled['commands'] = [];
    let latency = '';
    try {
      await system.redis.config('SET', 'latency-monitor-threshold', '1');
      await system.redis.config('RESETSTAT');
      const saleId = await system.makeSale();
      const loop = await closedLoop({ url: system.url, saleId, connections: 200, seconds });
      orders = loop.requests - loop.refused;
      await system.settled(saleId);
      commands = commandsFor(orders, await system.redis.info('commandstats'));
      latency = String(await system.redis.call('LATENCY', 'LATEST')) || 'nothing took longer than 1 ms';
    } finally {
      // The profile is written as the process ends.
      await system.stop();
    }
    const [file] = readdirSync(profiles);
    return {
      orders,
      commands,
      latency,
      profile: JSON.parse(readFileSync(join(profiles, String(file)), 'utf8')) as CpuProfile,
    };
  } finally {
    rmSync(profiles, { recursive: true, force: true });
  }
}

function commandsFor(orders: number, stats: string): Profiled['commands'] {
  return [...stats.matchAll(/^cmdstat_(\S+?):calls=(\d+),usec=(\d+)/gm)]
    .map(([, name, calls, usec]) => ({ name: String(name), calls: Number(calls) / orders, us: Number(usec) / orders }))
    .sort((a, b) => b.us - a.us)
    .slice(0, 16);
}

function table(of: Profiled): string {
  const rows = selfTimes(of.profile)
    .slice(0, 25)
    .map(({ name, us }) => `| ${(us / of.orders).toFixed(2)} | \`${name}\` |`);
  return `| µs an order | in itself |\n| --- | --- |\n${rows.join('\n')}`;
}

const [api, worker] = [await profileOf('api'), await profileOf('worker')];
writeFileSync(join(folder, 'flame-api.svg'), flameGraph(api.profile, 'API, accepting orders over 200 connections'));
writeFileSync(join(folder, 'flame-worker.svg'), flameGraph(worker.profile, 'Worker, confirming them'));
writeFileSync(
  join(folder, 'profile.md'),
  `# Where the time goes

CPU profiles of V8 while 200 connections order as fast as they are answered. The profiler itself takes time, and the processes wait for the
two cores that they share with crowd and servers (a sample counts that as time of whatever was waiting), so that only the parts say
something: what an order costs without it is in [speed](speed.md). The start of the process is in it.

## API

![Flame graph of the API](flame-api.svg)

${table(api)}

\`writeUtf8String\` is the answer's way into the socket; on loopback the kernel brings it to the reader in the same call. A bare Fastify has
that, too.

## Worker

![Flame graph of the worker](flame-worker.svg)

${table(worker)}

## Redis

\`INFO commandstats\` of ${api.orders.toLocaleString('en')} orders; \`evalsha\` has the commands within scripts in its time. \`LATENCY LATEST\`: ${api.latency}.

| command | calls an order | µs an order |
| --- | --- | --- |
${api.commands.map(({ name, calls, us }) => `| ${name} | ${calls.toFixed(3)} | ${us.toFixed(2)} |`).join('\n')}

${measuredBy(`pnpm bench:profile --seconds ${seconds}`)}`,
);
process.stdout.write('docs/measurements/profile.md is written.\n');
