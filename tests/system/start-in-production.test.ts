/** In production a process checks itself at its start, logs faults and refuses weak secrets. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, vi } from 'vitest';
import { addressesOf } from '../support/command.ts';
import { startProcess } from '../support/running-system.ts';
import { test } from '../support/system-test.ts';
import type { World } from '../support/world.ts';

vi.setConfig({ testTimeout: 60_000 });

const TOKEN = 'mFq8-2xVt0Rz7_kLw9Ua';

test('in production faults are logged at the start, without secrets; a well-known token is refused', async ({
  world,
}) => {
  const settings = {
    NODE_ENV: 'production',
    AUTH: 'header',
    ADMIN_TOKEN: TOKEN,
    GLOBAL_RATE_LIMIT: '0',
  };
  const api = await startProcess(world, 'api', settings);
  const lines = api
    .output()
    .split('\n')
    .filter((line) => line.includes('doctor: check failed'));
  const found = lines.map((line) => JSON.parse(line) as Record<string, string>);
  expect(found.map(({ check }) => check)).toContain('RATE_LIMITS');
  expect(found.map(({ check }) => check)).toContain('POSTGRES_SETTINGS');
  expect(found.find(({ check }) => check === 'RATE_LIMITS')).toMatchObject({ level: 'warn', outcome: 'warning' });
  for (const secret of [TOKEN, new URL(world.redisUrl).password]) expect(lines.join()).not.toContain(secret);

  const worker = await startProcess(world, 'worker', settings);
  expect(worker.output()).toContain('POSTGRES_SETTINGS');
  expect(worker.output()).not.toContain('RATE_LIMITS');

  const { AUTH: _unset, ...unchosen } = settings;
  const [refused, withoutAuth, halfChosen] = await Promise.all([
    endOf(world, { ...settings, ADMIN_TOKEN: 'changemechangeme' }),
    endOf(world, unchosen),
    endOf(world, { ...settings, AUTH: 'jwt', JWT_ISSUER: 'https://id.example' }),
  ]);
  expect([refused.code, withoutAuth.code, halfChosen.code]).toEqual([78, 78, 78]);
  expect(refused.output).toMatch(/^api: ADMIN_TOKEN is a well-known word\. Production refuses it\. .*\n$/);
  expect(refused.output).not.toContain('changeme');
  expect(withoutAuth.output).toMatch(/^api: AUTH is not set\. Production needs AUTH=jwt with JWT_ISSUER.*\n$/);
  expect(halfChosen.output).toMatch(/JWT_JWKS_URL and JWT_SECRET are not set\. [\s\S]*JWT_AUDIENCE is not set\. /);
});

function endOf(world: World, changed: Record<string, string>): Promise<{ code: number | null; output: string }> {
  const main = fileURLToPath(new URL('../../apps/api/src/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main], { env: { PATH: process.env.PATH, ...addressesOf(world), ...changed } });
  let output = '';
  child.stderr.on('data', (chunk) => (output += chunk));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}
