import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { claimDataFolder, keptSecret } from './data-folder.ts';
import { endLeftovers, signalProcess, worksIn } from './process-table.ts';

let folder = '';
let file = '';
let started: number[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'data-folder-')));
  file = join(folder, 'running.json');
  started = [];
});

afterEach(() => {
  for (const pid of started) signalProcess(pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A process that runs the script until it is killed, once it has printed something. */
async function running(script: string, ...words: string[]): Promise<number> {
  const args = ['--input-type=module', '-e', `${script}; console.log('up'); setInterval(() => {}, 1000)`, ...words];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child.pid as number);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  return child.pid as number;
}

const record = () => JSON.parse(readFileSync(file, 'utf8'));

test('a folder on which a system runs is refused, with its pid and a way out, until it dies', async () => {
  const module = JSON.stringify(new URL('./data-folder.ts', import.meta.url).href);
  const pid = await running(
    `import { claimDataFolder } from ${module};
     globalThis.claim = claimDataFolder(${JSON.stringify(folder)}); claim.setProcess('redis', 12345)`,
  );
  expect(() => claimDataFolder(folder)).toThrow(new RegExp(`already runs on .*pid ${pid}.*DATA_DIR=`));
  expect(record()).toMatchObject({ launcher: pid });
  signalProcess(pid, 'SIGKILL');
  while (worksIn(pid, process.execPath)) await new Promise((resolve) => setTimeout(resolve, 10));
  const claim = claimDataFolder(folder);
  expect(claim.left).toEqual({ redis: 12_345 });
  // Known to the next start, too, in case this one is killed before it has ended it.
  claim.setProcess('api-1', 77);
  expect(record()).toMatchObject({ launcher: process.pid, processes: { redis: 12_345, 'api-1': 77 } });
  claim.release();
  expect(existsSync(file)).toBe(false);
  claimDataFolder(folder).release();
});

test('a spoiled file is replaced', () => {
  writeFileSync(file, '{"launcher":');
  const claim = claimDataFolder(folder);
  expect(claim.left).toEqual({});
  claim.release();
});

test('leftovers are ended when they have the folder in their arguments, and only then', async () => {
  const redis = await running('', join(folder, 'redis', 'redis.conf'));
  const neighbour = await running('', `${folder}-2/redis/redis.conf`);
  const lines: string[] = [];
  await endLeftovers({ redis, 'api-1': neighbour }, folder, 5_000, (line) => lines.push(line));
  expect(worksIn(redis, folder)).toBe(false);
  expect(worksIn(neighbour, `${folder}-2`)).toBe(true);
  expect(lines).toEqual([`stopping redis (pid ${redis}), left by a start that was killed`]);
  expect(worksIn(2 ** 22 + 1, folder)).toBe(false);
});

test('a secret is kept, nobody else may read it, and an empty file gets a new one', () => {
  const secret = keptSecret(folder, 'admin-token');
  expect(secret).toMatch(/^[\w-]{43}$/);
  expect(keptSecret(folder, 'admin-token')).toBe(secret);
  const secretFile = join(folder, 'secrets', 'admin-token');
  expect(statSync(secretFile).mode & 0o777).toBe(0o600);
  writeFileSync(secretFile, '\n');
  const again = keptSecret(folder, 'admin-token');
  expect(again).toMatch(/^[\w-]{43}$/);
  expect(again).not.toBe(secret);
  expect(keptSecret(folder, 'admin-token')).toBe(again);
});
