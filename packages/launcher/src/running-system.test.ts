/** What a running system writes down for commands in other terminals. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findSettings, findSystem, removeSystemFile, writeSystemFile } from './running-system.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-system-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What a shell has that read the file: name → text. */
function sourced(before: Record<string, string> = {}): Record<string, string> {
  const print = 'process.stdout.write(JSON.stringify(process["env"]))';
  const typed = `set -a; . "${join(folder, 'system.env')}"; set +a; exec "${process.execPath}" -e '${print}'`;
  return JSON.parse(execFileSync('sh', ['-c', typed], { encoding: 'utf8', env: before }));
}

const given = {
  REDIS_URL: 'redis://default:pa$s`w"o@127.0.0.1:1/0',
  DATABASE_URL: "postgres://u:it's@127.0.0.1:2/d",
  ADMIN_TOKEN: 'a-token\'s-$(with)-`odd`-"marks"',
  AUTH: 'jwt',
  JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E',
  JWT_ISSUER: `it's "$HOME" \`id\` \\ of two
lines`,
  JWT_AUDIENCE: "a shop's own",
  PORT: '5964',
  ADMIN_PORT: '5097',
  KEY_PREFIX: 'other',
  LOG_FILE: '/nowhere/api-1.log',
  NODE_OPTIONS: '--max-old-space-size=512 --no-warnings',
  SHELL: '/bin/of-the-launcher',
};
const { LOG_FILE: _own, SHELL: _others, ...kept } = given;

test('a shell that reads system.env, and a command, have what the running processes have; nobody else may read it', () => {
  writeFileSync(join(folder, 'system.env'), 'left by an earlier one', { mode: 0o644 });
  writeSystemFile(folder, given);
  expect(statSync(join(folder, 'system.env')).mode & 0o777).toBe(0o600);
  const addresses = { API_URL: 'http://127.0.0.1:5964', ADMIN_URL: 'http://127.0.0.1:5097' };
  const shell = sourced({ AUTH: 'header', GLOBAL_RATE_LIMIT: '7', JWT_JWKS_URL: 'http://other' });
  // What was at its default, or unset, is so there, too.
  const all = {
    FLASH_SALE_SYSTEM: folder,
    ...kept,
    ...addresses,
    GLOBAL_RATE_LIMIT: '2000',
    JWT_JWKS_URL: '',
    DATA_DIR: folder,
  };
  expect(shell).toMatchObject(all);
  expect(shell).not.toHaveProperty('LOG_FILE');
  expect(shell).not.toHaveProperty('SHELL', given.SHELL);
  const { AUTH, JWT_ISSUER, ADMIN_TOKEN, JWT_AUDIENCE } = given;
  const read = findSettings(folder, { DATA_DIR: folder });
  expect(read.settings.environment).toMatchObject({ AUTH, JWT_ISSUER, ADMIN_TOKEN, JWT_AUDIENCE, PORT: 5964 });
  expect(read.isRunning).toBe(true);
  removeSystemFile(folder);
  expect(findSettings(folder, { DATA_DIR: folder })).toMatchObject({ isRunning: false, changed: [] });
  // Cannot be read as a file.
  mkdirSync(join(folder, 'system.env'));
  expect(findSettings(folder, { DATA_DIR: folder })).toMatchObject({ isRunning: false, changed: [] });
});

test("a command means the running system; its terminal's settings go first", () => {
  const bare = { DATA_DIR: folder };
  for (const name of ['REDIS_URL', 'DATABASE_URL', 'ADMIN_TOKEN'] as const) {
    const sentence = `${name} is not set, and no system runs on ${folder}. Run "npm start" first, or set ${name}.`;
    expect(() => findSystem(folder, bare, name)).toThrow(sentence);
  }
  writeSystemFile(folder, { ...given, ADMIN_PORT: '0' });
  const { REDIS_URL, DATABASE_URL, ADMIN_TOKEN } = given;
  expect(findSystem(folder, bare, 'REDIS_URL', 'DATABASE_URL', 'ADMIN_TOKEN')).toMatchObject({
    adminUrl: 'http://127.0.0.1:5964',
    environment: { REDIS_URL, DATABASE_URL, ADMIN_TOKEN, NODE_ENV: 'development' },
  });
  const own = { ...bare, PORT: '5098', ADMIN_TOKEN: 'a-token-of-its-own', NODE_ENV: 'production' };
  expect(findSystem(folder, own, 'ADMIN_TOKEN')).toMatchObject({
    adminUrl: 'http://127.0.0.1:5098',
    environment: { ADMIN_TOKEN: 'a-token-of-its-own', NODE_ENV: 'production' },
  });
});

test("settings to check are the running system's under the terminal's, unless that names other servers", () => {
  expect(findSettings(folder, { DATA_DIR: folder, PORT: '5001' })).toMatchObject({ isRunning: false });
  writeSystemFile(folder, given);
  const found = findSettings(folder, { DATA_DIR: folder, PORT: '5098', AUTH: 'jwt', KEY_PREFIX: '' });
  expect(found).toMatchObject({ isRunning: true, changed: ['PORT'] });
  expect(found.settings.environment).toMatchObject({ PORT: 5098, AUTH: 'jwt', KEY_PREFIX: 'other' });
  const other = findSettings(folder, { DATA_DIR: folder, REDIS_URL: 'redis://127.0.0.1:9' });
  expect(other).toMatchObject({ isRunning: false, changed: [] });
  expect(other.settings.environment).toMatchObject({ PORT: 5001, KEY_PREFIX: 'flash-sale' });
});
