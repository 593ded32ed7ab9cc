/** Settings from files: their content, and the message for each unusable file. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EnvironmentError, readEnvironment } from './environment.ts';
import { withEnvFile, withSettingFiles } from './setting-files.ts';
import { SettingsSchema } from './settings.ts';

const root = join(import.meta.dirname, '..', '..', '..', '..');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'setting-files-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('every setting can come from a file, without the newline at its end', () => {
  const given = { REDIS_URL_FILE: file('redis', 'redis://:secret@a:1\n'), PORT_FILE: file('port', ' 7001\r\n') };
  const settings = withSettingFiles({ ...given, PATH: '/bin', LOG_FILE: '/tmp/log' });
  expect(settings).toEqual({ REDIS_URL: 'redis://:secret@a:1', PORT: '7001', PATH: '/bin', LOG_FILE: '/tmp/log' });
  expect(readEnvironment(settings)).toMatchObject({
    REDIS_URL: 'redis://:secret@a:1',
    PORT: 7001,
    LOG_FILE: '/tmp/log',
  });
});

test('variables go before those of .env, from a file or not', () => {
  const [token, other] = [file('env-token', 'of-env'), file('own-token', 'of-its-own')];
  const env = file('.env', `ADMIN_TOKEN_FILE=${token}\nPORT=7001\nHOST='::1'\n`);
  expect(withEnvFile(env, {})).toEqual({ ADMIN_TOKEN: 'of-env', PORT: '7001', HOST: '::1' });
  const own = { ADMIN_TOKEN_FILE: other, PORT: '7002' };
  expect(withEnvFile(env, own)).toEqual({ ADMIN_TOKEN: 'of-its-own', PORT: '7002', HOST: '::1' });
  expect(withEnvFile(join(folder, 'none'), own)).toEqual({ ADMIN_TOKEN: 'of-its-own', PORT: '7002' });
});

test('a byte order mark at the beginning of a file is not part of its first name or value', () => {
  const token = file('bom-token', '\ufeffof-a-file');
  const env = file('bom', `\ufeffAUTH=header\r\nADMIN_TOKEN_FILE=${token}\r\n`);
  expect(withEnvFile(env, {})).toEqual({ AUTH: 'header', ADMIN_TOKEN: 'of-a-file' });
});

test.each([
  ['UTF-16', Buffer.from('\ufeffAUTH=jwt\n', 'utf16le'), '.env is not a text file in UTF-8.'],
  ['NUL bytes', 'AUTH=jwt\0\n', '.env is not a text file in UTF-8.'],
  ['Latin-1', Buffer.from('JWT_ISSUER=K\xf6ln\n', 'latin1'), '.env is not a text file in UTF-8.'],
  ['swapped letters', 'AUHT=jwt\n', 'AUHT in .env is not a setting. Did you mean AUTH?'],
  ['lower case', 'auth=jwt\n', 'auth in .env is not a setting. Did you mean AUTH?'],
  ['a dash', 'ADMIN-TOKEN=x\n', 'ADMIN-TOKEN in .env is not a setting. Did you mean ADMIN_TOKEN?'],
  ['a file', 'ADMIN_TOKN_FILE=/x\n', 'ADMIN_TOKN_FILE in .env is not a setting. Did you mean ADMIN_TOKEN?'],
  [
    'another letter',
    'RATE_LIMIT_TOKEMS=1\n',
    'RATE_LIMIT_TOKEMS in .env is not a setting. Did you mean RATE_LIMIT_TOKENS?',
  ],
  ['a letter less', 'REDIS_RL=x\n', 'REDIS_RL in .env is not a setting. Did you mean REDIS_URL?'],
])('.env with %s is refused with a sentence', (_, text, sentence) => {
  const path = join(folder, 'odd.env');
  writeFileSync(path, text);
  expect(() => withEnvFile(path, {})).toThrow(EnvironmentError);
  expect(() => withEnvFile(path, {})).toThrow(sentence);
});

/** Lines that Node's parser reads, and what it makes of them. */
test.each<[line: string, expected: Record<string, string>]>([
  ['A=x # a comment', { A: 'x' }],
  ['A=x\t# a comment', { A: 'x' }],
  ['A= # a comment', { A: '' }],
  ['A=', { A: '' }],
  [' A = b c ', { A: 'b c' }],
  ['export A=b', { A: 'b' }],
  ['A="x#y" # "a comment"', { A: 'x#y' }],
  ["A='x#y'", { A: 'x#y' }],
  ['A=`x"#\'y`', { A: 'x"#\'y' }],
  ["A=it's=b", { A: "it's=b" }],
  ['\t# A="x\n  # A=y#z\n\nB=1\n#A=1', { B: '1' }],
  ['A=x\rB=y\r\nC=z', { A: 'x', B: 'y', C: 'z' }],
])('.env with %j is read as it stands', (line, expected) => {
  expect(withEnvFile(file('.env', `${line}\n`), {})).toEqual(expected);
});

test.each<[why: string, line: string]>([
  ['# in a value', 'ADMIN_TOKEN=hunter2#def'],
  ['# in an address', 'DATABASE_URL=postgres://u:hunter2#w@h/d'],
  ['# at the beginning of a value', 'ADMIN_TOKEN=#hunter2'],
  ['# in quotes within a value', 'ADMIN_TOKEN=x"hunter2#z"'],
  ['an escaped #', 'ADMIN_TOKEN=hunter2\\#z'],
  ['a quote that is not closed', 'ADMIN_TOKEN="hunter2'],
  ['a quote that is closed by a later setting', 'ADMIN_TOKEN="hunter2\nAUTH="jwt"'],
  ['a value of several lines', 'ADMIN_TOKEN="hunter2\nAUTH=jwt"'],
  ['text after a closing quote', "ADMIN_TOKEN='hunter2'def'"],
  ['an escaped quote', 'ADMIN_TOKEN="hunter2\\"def"'],
  ['# after a closing quote', 'ADMIN_TOKEN="hunter2"#def'],
  ['no =', 'ADMIN_TOKEN hunter2'],
  ['a colon instead of =', 'ADMIN_TOKEN: hunter2'],
  ['a tab after export', 'export\tADMIN_TOKEN=hunter2'],
  ['another word in front', 'set ADMIN_TOKEN=hunter2'],
  ['a quoted name', '"ADMIN_TOKEN"=hunter2'],
])('.env with %s is refused with a sentence that does not show the value', (_, line) => {
  const refused = () => withEnvFile(file('.env', `PORT=7001\n${line}\n`), {});
  expect(refused).toThrow(EnvironmentError);
  expect(refused).toThrow(
    /^Line 2 of \.env would be read as something else\. Write NAME='value' on one line; a value with # or quotes/m,
  );
  expect(refused).not.toThrow('hunter2');
});

test('.env that is a folder is refused with a sentence', () => {
  expect(() => withEnvFile(folder, {})).toThrow(EnvironmentError);
  expect(() => withEnvFile(folder, {})).toThrow('.env is a folder. Docker creates a folder');
});

test('in the environment, which has the names of other programs, only a misspelt setting is refused', () => {
  const foreign = { PATH: '/bin', HOSTNAME: 'x', REDIS_TLS: '1', DATABASE_USER: 'x', PORTS: '1', API_PORT: 'x' };
  const spelt = {
    LOGFILE: '/x',
    DATADIR: '/x',
    LOGLEVEL: 'x',
    NODENV: 'x',
    log_level: 'x',
    auth: 'x',
    AdminToken: 'x',
  };
  expect(withEnvFile(join(folder, 'none'), { ...foreign, ...spelt })).toEqual({ ...foreign, ...spelt });
  for (const [name, meant] of [
    ['REDIS_URI', 'REDIS_URL'],
    ['LOG_LEVLE', 'LOG_LEVEL'],
    ['AUHT', 'AUTH'],
    ['JWT_SECERT', 'JWT_SECRET'],
  ] as const) {
    const refusal = `${name} in the environment is not a setting. Did you mean ${meant}?`;
    expect(() => withEnvFile(join(folder, 'none'), { [name]: 'x' })).toThrow(refusal);
    expect(withEnvFile(join(folder, 'none'), { [name]: 'x', [meant]: 'y' })).toHaveProperty(name, 'x');
  }
});

test('.env may have names that are near no setting, like those of compose', () => {
  const composed = ['compose.yaml', 'compose.secrets.yaml'].flatMap((path) =>
    [...readFileSync(join(root, path), 'utf8').matchAll(/(?<!\$)\$\{([A-Z0-9_]+)/g)].map(([, name = '']) => name),
  );
  const names = [...new Set([...composed, 'COMPOSE_FILE', 'HTTPS_PROXY', 'SHOP_NAME', 'PORTS'])];
  expect(names).toContain('REDIS_PASSWORD');
  const env = file('composed', names.map((name) => `${name}=\n`).join(''));
  expect(Object.keys(withEnvFile(env, {})).sort()).toEqual(names.sort());
});

test('no setting is named as the file of another one', () => {
  const names = Object.keys(SettingsSchema.properties);
  expect(names.filter((name) => names.includes(`${name}_FILE`))).toEqual([]);
});

test('an empty name counts as unset, and so does an empty value beside a file', () => {
  const token = file('token', 'a-token-of-some-length');
  expect(withSettingFiles({ ADMIN_TOKEN: '', ADMIN_TOKEN_FILE: token }).ADMIN_TOKEN).toBe('a-token-of-some-length');
  expect(withSettingFiles({ ADMIN_TOKEN: 'of-the-environment', ADMIN_TOKEN_FILE: ' ' })).toEqual({
    ADMIN_TOKEN: 'of-the-environment',
  });
});

test('the message for an unusable file shows nothing of its content', () => {
  mkdirSync(join(folder, 'made-by-docker'));
  const refused = (given: Record<string, string>): string => {
    try {
      withSettingFiles(given);
    } catch (error) {
      expect(error).toBeInstanceOf(EnvironmentError);
      return (error as Error).message;
    }
    throw new Error('it was accepted');
  };
  const missing = join(folder, 'missing');
  expect(refused({ ADMIN_TOKEN_FILE: missing })).toContain(`ADMIN_TOKEN_FILE names ${missing}, which does not exist.`);
  expect(refused({ ADMIN_TOKEN_FILE: file('empty', ' \n') })).toContain('which is empty. Write the value into it');
  expect(refused({ ADMIN_TOKEN_FILE: join(folder, 'made-by-docker') })).toContain('which is a folder.');
  expect(refused({ ADMIN_TOKEN_FILE: file('nul', 'a\0b') })).toContain('which is not a text file in UTF-8.');
  expect(refused({ ADMIN_TOKEN_FILE: file('large', 'x'.repeat(65_537)) })).toContain('larger than 65536 bytes');
  // A read of either would not end: /dev/zero has no end, and the pipe has no writer.
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  for (const path of ['/dev/zero', join(folder, 'pipe')])
    expect(refused({ ADMIN_TOKEN_FILE: path })).toContain(
      `ADMIN_TOKEN_FILE names ${path}, which is a pipe or a device.`,
    );
  expect(withSettingFiles({ ADMIN_TOKEN_FILE: file('full', 'x'.repeat(65_536)) }).ADMIN_TOKEN).toHaveLength(65_536);
  const both = refused({
    ADMIN_TOKEN: 'hunter2-hunter2-hunter2',
    ADMIN_TOKEN_FILE: file('other', 'swordfish-swordfish'),
    DATABASE_URL_FILE: missing,
  });
  expect(both.split('\n')).toEqual([
    expect.stringContaining(`DATABASE_URL_FILE names ${missing}`),
    'ADMIN_TOKEN and ADMIN_TOKEN_FILE are both set. Remove one of them.',
  ]);
  expect(both).not.toMatch(/hunter2|swordfish/);
});

test('a file of another user is unreadable', () => {
  const path = file('theirs', 'x');
  // An account that is not root reads nothing of mode 000; root reads all, so it becomes
  // nobody for a moment.
  const account = process.geteuid?.();
  rmSync(path);
  writeFileSync(path, 'x', { mode: 0o000 });
  try {
    if (account === 0) process.seteuid?.(65_534);
    expect(() => withSettingFiles({ ADMIN_TOKEN_FILE: path })).toThrow(
      /ADMIN_TOKEN_FILE names .*, which this user may not read/,
    );
  } finally {
    if (account === 0) process.seteuid?.(0);
  }
});
