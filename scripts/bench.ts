/**
 * npm run bench -- [--only open,cost] [--rounds 5] [--seconds 2] [--against folder] [--starts 5]
 *
 * Measures the speed of the system as ratios to a bare Fastify in the same run, on private servers.
 * Every load is bounded and on loopback.
 *   memory  of an idle API, and of one under 500 connections
 *   cold    the first 3 s of fresh processes, by 100 ms
 *   closed  requests a second at 50 and 200 connections, by kind of reply
 *   open    latency at 25, 50 and 75 % of the capacity
 *   drop    50,000 units, from the first request to the last row in the ledger
 *   cost    CPU time, Redis commands and bytes, ledger bytes of an order
 *
 * With --against, API and worker of another checkout (with installed packages) run in alternation
 * with those of this one. Each is started --starts times, because results of the same code differ
 * by up to 20 % between starts. The table then has both medians and their ratio. Needs Linux
 * (/proc).
 */
import { existsSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { BenchSystem } from './bench/bench-system.ts';
import { closed, cold, cost, drop, memory, open, type Run, warmUp } from './bench/parts.ts';
import { readArguments, root, say } from './command.ts';

const parts: Record<string, (run: Run) => Promise<void>> = { memory, cold, closed, open, drop, cost };

/** Each is measured on processes that have not answered anything yet. */
const FRESH = ['memory', 'cold'];

/** Measured values by figure. */
type Samples = Map<string, number[]>;

const { values } = readArguments(import.meta.url, 2, {
  options: {
    only: { type: 'string', default: Object.keys(parts).join(',') },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    against: { type: 'string' },
    starts: { type: 'string' },
  },
});
const chosen = values.only.split(',');
const codes = [root, ...(values.against === undefined ? [] : [resolve(values.against)])];
const [rounds, seconds] = [count('rounds', values.rounds), count('seconds', values.seconds)];
const starts = count('starts', values.starts ?? (codes.length > 1 ? '5' : '1'));
for (const part of chosen)
  if (!parts[part]) stop(`There is no measurement "${part}". Measurements: ${Object.keys(parts).join(', ')}.`);
for (const code of codes)
  if (!existsSync(join(code, 'node_modules'))) stop(`${code} is not a checkout with installed packages.`);
if (process.platform !== 'linux') stop('The bench reads CPU times from /proc, which only Linux has.');

const startedAt = performance.now();
const samples: Samples[] = codes.map(() => new Map());
let capacity = 0;
for (let start = 1; start <= starts; start++) {
  for (const [i, code] of codes.entries()) {
    await measure(code, samples[i] as Samples);
    progress(`start ${start} of ${starts}, ${code}`);
  }
}
say(`${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB; Node ${process.version}`);
say(`medians (lowest–highest) of ${starts} starts with ${rounds} rounds of ${seconds} s\n`);
for (const line of table()) say(line);

async function measure(code: string, into: Samples): Promise<void> {
  for (const part of chosen.filter((one) => FRESH.includes(one))) await measureOn(code, into, [part]);
  const rest = chosen.filter((one) => !FRESH.includes(one));
  if (rest.length > 0) await measureOn(code, into, rest, true);
}

async function measureOn(code: string, into: Samples, names: readonly string[], warm = false): Promise<void> {
  const record = (figure: string, value: number): void => void into.set(figure, [...(into.get(figure) ?? []), value]);
  const system = await BenchSystem.start(code);
  try {
    record('API start to ready, ms', system.facts.startMs);
    const rate = warm ? await warmUp(system, seconds) : 0;
    // Measured once, so that the open loops have the same rate for all starts.
    capacity ||= rate;
    for (const name of names) {
      await parts[name]?.({ system, rounds, seconds, capacity, record });
      progress(name);
    }
  } finally {
    await system.stop();
  }
}

function table(): string[] {
  const [own, other] = samples as [Samples, Samples | undefined];
  const head = ['figure', 'this code', ...(other ? ['other code', 'this ÷ other'] : [])];
  const rows = [...own].map(([figure, found]) => {
    const against = other?.get(figure);
    return [figure, spread(found), ...(against ? [spread(against), (median(found) / median(against)).toFixed(3)] : [])];
  });
  const width = (column: number): number => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0));
  const line = (row: string[]): string =>
    row.map((cell, i) => (i ? cell.padStart(width(i)) : cell.padEnd(width(i)))).join('  ');
  return [head, ...rows].map(line);
}

function median(list: readonly number[]): number {
  const sorted = [...list].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[(sorted.length >> 1) - 1] ?? 0) + upper) / 2;
}

function spread(list: readonly number[]): string {
  const shown = (value: number): string => value.toFixed(value >= 1_000 ? 0 : value >= 10 ? 1 : 2);
  return `${shown(median(list))} (${shown(Math.min(...list))}–${shown(Math.max(...list))})`;
}

function count(option: string, text: string): number {
  if (!/^[1-9]\d?$/.test(text)) stop(`--${option} is "${text}". Expected: a whole number from 1 to 99.`);
  return Number(text);
}

function progress(line: string): void {
  process.stderr.write(`${((performance.now() - startedAt) / 1_000).toFixed(0).padStart(5)} s  ${line}\n`);
}

function stop(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
}
