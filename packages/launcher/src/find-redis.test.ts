import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { missingPackages, newEnoughPackage } from './debian-program.ts';
import { type FindOptions, findRedis, REDIS } from './find-redis.ts';
import { type RunCommand, runCommand } from './run-command.ts';

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'find-redis-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const absent: RunCommand = async () => ({ code: 127, stdout: '', stderr: '' });

const search = (more: Partial<FindOptions>) =>
  findRedis({ distFolder: join(folder, 'dist'), searchPath: '', usualPlaces: [], run: absent, ...more });

function fakeServer(name: string, output: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\necho '${output}'\n`);
  chmodSync(join(folder, name), 0o755);
}

test('nothing anywhere: one paragraph that says what to do', async () => {
  const message = await search({}).then(
    () => '',
    (error: Error) => error.message,
  );
  expect(message).toContain('No Redis 7 or newer was found');
  expect(message).toContain('REDIS_URL=redis://');
  expect(message).toContain('there is no Docker');
  expect(message).not.toContain('\n');
});

test('one on PATH that is new enough is taken; valkey counts', async () => {
  fakeServer('valkey-server', 'Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0');
  expect(await search({ searchPath: folder, run: runCommand })).toEqual({
    kind: 'binary',
    path: join(folder, 'valkey-server'),
    version: '8.1.1',
  });
});

test('an old one is passed over, and named where nothing better is found', async () => {
  fakeServer('redis-server', 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0');
  const run: RunCommand = (command, args, options) =>
    command.startsWith(folder) ? runCommand(command, args, options) : absent(command, args, options);
  await expect(search({ searchPath: folder, run })).rejects.toThrow(`${folder}/redis-server is version 6.0.16`);
});

test('Docker is the last resort', async () => {
  const run: RunCommand = async (command) => ({ code: command === 'docker' ? 0 : 127, stdout: '29.1.2\n', stderr: '' });
  expect(await search({ run })).toEqual({ kind: 'docker', image: 'redis:8-bookworm' });
});

test('apt-cache policy: the first package with a new enough candidate', () => {
  const policy = (redis: string, valkey: string) =>
    `redis-server:\n  Installed: (none)\n  Candidate: ${redis}\n  Version table:\n     5:6.0 500\n` +
    `valkey-server:\n  Installed: (none)\n  Candidate: ${valkey}\n  Version table:\n`;
  expect(newEnoughPackage(policy('5:7.0.15-1~deb12u10', '(none)'), 7)).toBe('redis-server');
  expect(newEnoughPackage(policy('5:6.0.16-1ubuntu1', '8.1.1+dfsg1-1'), 7)).toBe('valkey-server');
  expect(newEnoughPackage(policy('5:6.0.16-1ubuntu1', '(none)'), 7)).toBeUndefined();
  expect(newEnoughPackage('', 7)).toBeUndefined();
});

test('apt-get install --simulate: what carries code and is new; what would be upgraded is there already', () => {
  const plan = [
    'The following NEW packages will be installed:',
    '  adduser libjemalloc2 redis-server',
    'Inst libc6 [2.36-9+deb12u9] (2.36-9+deb12u13 Debian:12.15/oldstable [amd64])',
    'Inst adduser (3.134 Debian:12.15/oldstable [all])',
    'Inst libjemalloc2 (5.3.0-1 Debian:12.15/oldstable [amd64])',
    'Inst redis-server (5:7.0.15-1~deb12u10 Debian-Security:12/oldstable-security [amd64])',
    'Conf libjemalloc2 (5.3.0-1 Debian:12.15/oldstable [amd64])',
  ].join('\n');
  expect(missingPackages(plan, REDIS.carriesCode)).toEqual(['libjemalloc2', 'redis-server']);
});
