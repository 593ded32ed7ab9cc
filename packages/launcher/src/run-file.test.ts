import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { commandLine, signalProcess, worksIn } from './process-table.ts';
import { claimRunFile, endLeftovers, possibleLeftovers } from './run-file.ts';

let folder = '';
let started: number[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'run-file-')));
  started = [];
});

afterEach(() => {
  for (const pid of started) signalProcess(pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A process that stays, with these words in its command line. */
async function stayer(...words: string[]): Promise<number> {
  const script = 'console.log("up"); setInterval(() => {}, 1000)';
  const child = spawn(process.execPath, ['-e', script, ...words], { stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(child.pid as number);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child.pid as number;
}

function writeRecord(launcher: number, processes: Record<string, number> = {}): void {
  const record = { launcher, script: '/x/scripts/start.ts', since: '2026-01-01T00:00:00.000Z', processes };
  writeFileSync(join(folder, 'running.json'), JSON.stringify(record));
}

test('a folder on which a system runs is refused, with its pid and a way out', async () => {
  const pid = await stayer('/x/scripts/start.ts');
  writeRecord(pid);
  await expect(claimRunFile(folder, '/x/scripts/start.ts')).rejects.toThrow(
    new RegExp(`already runs on .*pid ${pid}.*DATA_DIR=`),
  );
});

test('the file of a dead owner, or of a pid that is now another program, is taken over', async () => {
  writeRecord(await stayer('another program'), { redis: 12_345 });
  const file = await claimRunFile(folder, '/x/scripts/start.ts');
  expect(file.left?.processes).toEqual({ redis: 12_345 });
  file.setProcess('api-1', 77);
  const record = JSON.parse(readFileSync(join(folder, 'running.json'), 'utf8'));
  expect(record).toMatchObject({ launcher: process.pid, processes: { 'api-1': 77 } });
  file.release();
  expect(existsSync(join(folder, 'running.json'))).toBe(false);
});

test('a half-written file is taken over as well', async () => {
  writeFileSync(join(folder, 'running.json'), '{"launcher":');
  const file = await claimRunFile(folder, '/x/scripts/start.ts');
  expect(file.left).toBeUndefined();
});

test('leftovers are ended when they carry the folder, and only then', async () => {
  const redis = await stayer(join(folder, 'redis', 'redis.conf'));
  const neighbour = await stayer(`${folder}-2/redis/redis.conf`);
  const lines: string[] = [];
  await endLeftovers({ redis, 'api-1': neighbour }, folder, 5_000, (line) => lines.push(line));
  expect(commandLine(redis)).toBeUndefined();
  expect(commandLine(neighbour)).toBeDefined();
  expect(lines).toEqual([`ends redis (pid ${redis}), left behind by a start that was killed`]);
});

test("the servers' own pid files count where nothing was written down", async () => {
  expect(possibleLeftovers(folder, undefined)).toEqual({});
  mkdirSync(join(folder, 'postgres', 'cluster'), { recursive: true });
  writeFileSync(join(folder, 'postgres', 'cluster', 'postmaster.pid'), '4711\n/somewhere\n');
  expect(possibleLeftovers(folder, undefined)).toEqual({ postgres: 4711 });
});

test('no process works anywhere under a pid that is not in use', () => {
  expect(worksIn(2 ** 22 + 1, folder)).toBe(false);
});
