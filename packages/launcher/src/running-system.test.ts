/** What a running system writes down for commands in other terminals. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findOperator, removeAddresses, writeAddresses } from './running-system.ts';

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
  adminToken: 'a-token $(with) `odd` "marks"',
};
const inShell = (name: string): string =>
  execFileSync('sh', ['-c', `. ${join(folder, 'system.env')}; printf %s "$${name}"`], { encoding: 'utf8' });

test('a shell and a command read the same, and nobody else may', () => {
  writeFileSync(join(folder, 'system.env'), 'left by an earlier one', { mode: 0o644 });
  writeAddresses(folder, addresses);
  expect(statSync(join(folder, 'system.env')).mode & 0o777).toBe(0o600);
  expect(inShell('REDIS_URL')).toBe(addresses.redisUrl);
  expect(inShell('DATABASE_URL')).toBe('postgres://u:it%27s@127.0.0.1:2/d');
  expect(inShell('ADMIN_TOKEN')).toBe(addresses.adminToken);
  const { adminUrl, adminToken } = addresses;
  expect(findOperator(folder, { DATA_DIR: folder })).toEqual({ adminUrl, adminToken });
});

test("a command's own settings go first", () => {
  writeAddresses(folder, addresses);
  const own = { DATA_DIR: folder, PORT: '5098', ADMIN_TOKEN: 'a-token-of-its-own' };
  expect(findOperator(folder, own)).toEqual({ adminUrl: 'http://127.0.0.1:5098', adminToken: 'a-token-of-its-own' });
});

test('a token that cannot be written is left out, not changed, and asked for', () => {
  writeAddresses(folder, { ...addresses, adminToken: "somebody's-own-token" });
  expect(inShell('ADMIN_TOKEN')).toBe('');
  expect(() => findOperator(folder, { DATA_DIR: folder })).toThrow('ADMIN_TOKEN is not set');
  removeAddresses(folder);
});
