import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { missingPackages, newEnoughPackage } from './debian-program.ts';
import { findRedis, REDIS } from './find-redis.ts';
import { type RunCommand, runCommand } from './run-command.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'find-redis-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A machine that has nothing but the programs of our folder, and the answer of docker, if any. */
function machine(docker?: string): RunCommand {
  return async (command, args, options) => {
    if (command.startsWith(folder)) return runCommand(command, args, options);
    return { code: command === 'docker' && docker ? 0 : 127, stdout: docker ?? '', stderr: '' };
  };
}

const search = (run: RunCommand) =>
  findRedis({ distFolder: join(folder, 'dist'), searchPath: folder, usualPlaces: [], run });

function fakeServer(name: string, output: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\necho '${output}'\n`);
  chmodSync(join(folder, name), 0o755);
}

test('nothing anywhere, then an old one, then Docker, then one on PATH that is new enough', async () => {
  const message = await search(machine()).then(String, (error: Error) => error.message);
  expect(message).toMatch(/^No Redis 7 or newer was found.*REDIS_URL=redis:.*there is no Docker.*$/);
  fakeServer('redis-server', 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0');
  await expect(search(machine())).rejects.toThrow(`${folder}/redis-server is version 6.0.16`);
  expect(await search(machine('29.1.2\n'))).toEqual({ kind: 'docker', image: 'redis:8-bookworm' });
  fakeServer('valkey-server', 'Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0');
  const path = join(folder, 'valkey-server');
  expect(await search(machine())).toEqual({ kind: 'binary', path, version: '8.1.1' });
});

test.each([
  ['5:7.0.15-1~deb12u10', '(none)', 'redis-server'],
  ['5:6.0.16-1ubuntu1', '8.1.1+dfsg1-1', 'valkey-server'],
  ['5:6.0.16-1ubuntu1', '(none)', undefined],
])('apt-cache policy: of redis %s and valkey %s, %s', (redis, valkey, chosen) => {
  const policy =
    `redis-server:\n  Installed: (none)\n  Candidate: ${redis}\n  Version table:\n     5:6.0 500\n` +
    `valkey-server:\n  Installed: (none)\n  Candidate: ${valkey}\n  Version table:\n`;
  expect(newEnoughPackage(policy, 7)).toBe(chosen);
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
