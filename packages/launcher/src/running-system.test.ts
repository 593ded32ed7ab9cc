/** What a running system writes down for commands in other terminals. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  findOperator,
  findServers,
  findSettings,
  refuseSourced,
  removeAddresses,
  writeAddresses,
  writeProcessSettings,
} from './running-system.ts';
import { readShellFile } from './shell-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-system-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const addresses = {
  apiUrl: 'http://127.0.0.1:5099',
  adminUrl: 'http://127.0.0.1:5097',
  redisUrl: 'redis://default:pa$s`w"o@127.0.0.1:1/0',
  databaseUrl: "postgres://u:it's@127.0.0.1:2/d",
  adminToken: 'a-token\'s-$(with)-`odd`-"marks"',
};
/** What a shell has that sourced the file: name → text. */
function sourced(file: string, before: Record<string, string> = {}): Record<string, string> {
  const print = 'process.stdout.write(JSON.stringify(process["env"]))';
  const typed = `set -a; . "${join(folder, file)}"; set +a; exec "${process.execPath}" -e '${print}'`;
  return JSON.parse(execFileSync('sh', ['-c', typed], { encoding: 'utf8', env: before }));
}

test('a shell and a command read the same, and nobody else may', () => {
  writeFileSync(join(folder, 'system.env'), 'left by an earlier one', { mode: 0o644 });
  writeAddresses(folder, addresses);
  expect(statSync(join(folder, 'system.env')).mode & 0o777).toBe(0o600);
  const { adminUrl, adminToken, redisUrl, databaseUrl } = addresses;
  expect(sourced('system.env')).toMatchObject({
    ADMIN_URL: adminUrl,
    ADMIN_TOKEN: adminToken,
    REDIS_URL: redisUrl,
    DATABASE_URL: databaseUrl,
  });
  expect(findServers(folder, { DATA_DIR: folder })).toEqual({ redisUrl, databaseUrl });
  expect(findOperator(folder, { DATA_DIR: folder })).toEqual({ adminUrl, adminToken });
});

test("a command's own settings go first", () => {
  writeAddresses(folder, addresses);
  const own = { DATA_DIR: folder, PORT: '5098', ADMIN_TOKEN: 'a-token-of-its-own' };
  expect(findOperator(folder, own)).toEqual({ adminUrl: 'http://127.0.0.1:5098', adminToken: 'a-token-of-its-own' });
});

const given = {
  REDIS_URL: addresses.redisUrl,
  DATABASE_URL: addresses.databaseUrl,
  ADMIN_TOKEN: addresses.adminToken,
  AUTH: 'jwt',
  JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E',
  JWT_ISSUER: `it's "$HOME" \`id\` \\ of two
lines`,
  JWT_AUDIENCE: "a shop's own",
  PORT: '5964',
  KEY_PREFIX: 'other',
  LOG_FILE: '/nowhere/api-1.log',
  NODE_OPTIONS: '--max-old-space-size=512 --no-warnings',
  SHELL: '/bin/of-the-launcher',
};

test('a shell that sources settings.env gives a process what the running ones were given, over whatever it had', () => {
  writeProcessSettings(folder, given);
  expect(statSync(join(folder, 'settings.env')).mode & 0o777).toBe(0o600);
  const { LOG_FILE: _own, SHELL: _others, ...expected } = given;
  const shell = sourced('settings.env', { AUTH: 'header', GLOBAL_RATE_LIMIT: '7', JWT_JWKS_URL: 'http://other' });
  // What was at its default, or unset, is so there, too.
  expect(shell).toMatchObject({ ...expected, GLOBAL_RATE_LIMIT: '2000', JWT_JWKS_URL: '', DATA_DIR: folder });
  expect(shell).not.toHaveProperty('LOG_FILE');
  expect(shell).not.toHaveProperty('SHELL', given.SHELL);
  expect(readShellFile(join(folder, 'settings.env'))).toMatchObject(expected);
  removeAddresses(folder);
  expect(readShellFile(join(folder, 'settings.env'))).toEqual({});
});

test("settings to judge are the running system's under the terminal's, unless that names other servers", () => {
  expect(findSettings(folder, { DATA_DIR: folder, PORT: '5001' })).toMatchObject({ isRunning: false });
  writeProcessSettings(folder, { ...given, ADMIN_TOKEN: 'a-token-of-the-running' });
  const found = findSettings(folder, { DATA_DIR: folder, PORT: '5098', AUTH: 'jwt', KEY_PREFIX: '' });
  expect(found).toMatchObject({ isRunning: true, changed: ['PORT'] });
  expect(found.settings.environment).toMatchObject({ PORT: 5098, AUTH: 'jwt', KEY_PREFIX: 'other' });
  const other = findSettings(folder, { DATA_DIR: folder, REDIS_URL: 'redis://127.0.0.1:9' });
  expect(other).toMatchObject({ isRunning: false, changed: [] });
  expect(other.settings.environment).toMatchObject({ PORT: 5001, KEY_PREFIX: 'flash-sale' });
});

test.each(['system.env', 'settings.env'])(
  'a terminal that has read %s starts nothing on the servers of that system',
  (file) => {
    writeAddresses(folder, addresses);
    writeProcessSettings(folder, given);
    const terminal = sourced(file);
    expect(() => refuseSourced({ ...terminal, DATA_DIR: '.data-3' })).toThrow(
      /system on .*flash-sale-system-.*unset REDIS_URL DATABASE_URL ADMIN_TOKEN/,
    );
    // Also when it was stopped since, and where one address is left.
    removeAddresses(folder);
    expect(() => refuseSourced({ ...terminal, REDIS_URL: undefined })).toThrow('Open a new terminal');
    // Servers that were named on purpose, or unset as the sentence says.
    refuseSourced({ ...terminal, REDIS_URL: 'redis://127.0.0.1:9', DATABASE_URL: 'postgres://127.0.0.1:9/d' });
    refuseSourced({ ...terminal, REDIS_URL: undefined, DATABASE_URL: '' });
    refuseSourced({ REDIS_URL: addresses.redisUrl });
  },
);
