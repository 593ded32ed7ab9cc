import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { packagesIn } from './debian-program.ts';
import { findRedis, REDIS } from './find-redis.ts';

let folder = '';
/** A machine that has nothing but the programs of our folder. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'find-redis-'));
  vi.stubEnv('PATH', folder);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const search = () => findRedis({ distFolder: join(folder, 'dist'), usualPlaces: [] });

function fakeProgram(name: string, output: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\necho '${output}'\n`);
  chmodSync(join(folder, name), 0o755);
}

test('nothing anywhere, then an old one, then Docker, then one on PATH that is new enough', async () => {
  const message = await search().then(String, (error: Error) => error.message);
  expect(message).toMatch(/^No Redis 7 or newer was found.*REDIS_URL=redis:.*no apt-get; there is no Docker.*$/);
  fakeProgram('redis-server', 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=0');
  await expect(search()).rejects.toThrow(`${folder}/redis-server is version 6.0.16`);
  fakeProgram('docker', '29.1.2');
  expect(await search()).toEqual({ kind: 'docker', image: 'redis:8-bookworm' });
  fakeProgram('valkey-server', 'Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0');
  const path = join(folder, 'valkey-server');
  expect(await search()).toEqual({ kind: 'binary', path, version: '8.1.1' });
});

test.each([
  [
    '(5:7.0.15-1~deb12u10 Debian-Security:12/oldstable-security [amd64])',
    ['redis-server', 'redis-tools', 'libjemalloc2'],
  ],
  [
    '[5:6.0.16-1] (5:7.0.15-1~deb12u10 Debian:12.15/oldstable [amd64])',
    ['redis-server', 'redis-tools', 'libjemalloc2'],
  ],
  ['(5:6.0.16-1ubuntu1 Ubuntu:22.04/jammy [amd64])', []],
])('apt-get install --simulate: what carries code and is new, if redis-server is %s', (version, packages) => {
  const plan = [
    'The following NEW packages will be installed:',
    '  adduser libjemalloc2 redis-server',
    // It would be upgraded: it is there already.
    'Inst libc6 [2.36-9+deb12u9] (2.36-9+deb12u13 Debian:12.15/oldstable [amd64])',
    'Inst adduser (3.134 Debian:12.15/oldstable [all])',
    'Inst libjemalloc2 (5.3.0-1 Debian:12.15/oldstable [amd64])',
    `Inst redis-server ${version}`,
    'Conf libjemalloc2 (5.3.0-1 Debian:12.15/oldstable [amd64])',
  ].join('\n');
  expect(packagesIn(plan, 'redis-server', REDIS)).toEqual(packages);
});

test('apt-get install --simulate: an unknown package has no plan', () => {
  expect(packagesIn('', 'redis-server', REDIS)).toEqual([]);
});
