/** Settings and secrets: one bad line is one finding, and good ones are none. */

import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { expect, test } from 'vitest';
import { exitCodeOf, reportOf } from './checks.ts';
import type { Facts } from './collect-facts.ts';
import { judgeFacts } from './judge-facts.ts';

const GOOD = {
  NODE_ENV: 'production',
  AUTH: 'header',
  HOST: '0.0.0.0',
  TRUST_PROXY: '10.0.0.0/8',
  IP_RATE_LIMIT: '200',
  SHUTDOWN_DRAIN_MS: '3000',
  ADMIN_TOKEN: 'mFq8-2xVt0Rz7_kLw9Ua',
  REDIS_URL: 'rediss://shop:x7Kq9-mPz2@redis.example:6379',
  DATABASE_URL: 'postgres://shop:x7Kq9-mPz2@db.example/shop',
};

const JWT = {
  AUTH: 'jwt',
  JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E',
  JWT_ISSUER: 'https://id.example',
  JWT_AUDIENCE: 'flash-sale',
};

/** Servers that cannot be seen say nothing about settings. */
function bad(changed: Record<string, string | undefined>, process_: 'api' | 'worker' | 'all' = 'all') {
  const settings = readEnvironment({ ...GOOD, ...changed });
  const unseen = { unseen: 'not looked at' };
  const facts: Facts = {
    settings,
    redis: unseen,
    postgres: unseen,
    outdated: undefined,
    nodeVersion: '24.21.0',
    openFiles: 20_000,
    disks: [],
  };
  return judgeFacts(facts, process_).filter(({ outcome, code }) => outcome !== 'ok' && !code.endsWith('_ANSWERS'));
}

test('settings that are fit for production yield nothing', () => {
  expect(bad({})).toEqual([]);
  expect(bad(JWT)).toEqual([]);
  expect(bad({ ADMIN_PORT: '5002', CORS_ORIGINS: 'https://shop.example' })).toEqual([]);
  expect(bad({ HOST: '127.0.0.1', TRUST_PROXY: 'loopback' })).toEqual([]);
  expect(bad({ HOST: '::1', TRUST_PROXY: '', IP_RATE_LIMIT: '0' })).toEqual([]);
  for (const host of ['10.0.0.4', '127.0.0.1', '::1', 'fd00::4', '::ffff:10.0.0.4', 'localhost', 'metrics.internal'])
    expect(bad({ METRICS_PORT: '9100', METRICS_HOST: host }), host).toEqual([]);
  for (const range of ['10.0.0.0/8', '2001:db8::/32', '::ffff:10.0.0.0/104', 'uniquelocal, 10.1.2.3'])
    expect(bad({ TRUST_PROXY: range }), range).toEqual([]);
});

test.each<[string, 'warning' | 'wrong', string, Record<string, string | undefined>, RegExp]>([
  ['MODE', 'warning', 'development', { NODE_ENV: 'development' }, /NODE_ENV=production/],
  ['AUTH', 'wrong', 'AUTH is not set', { AUTH: undefined }, /AUTH=jwt.*or AUTH=header/],
  ['AUTH', 'wrong', 'JWT_JWKS_URL and JWT_SECRET are not set', { ...JWT, JWT_SECRET: undefined }, /needs one of them/],
  ['JWT_SECRET', 'wrong', 'fewer than 6 different', { ...JWT, JWT_SECRET: 'abab'.repeat(10) }, /^JWT_SECRET=/],
  ['JWT_SECRET', 'wrong', 'a word that', { ...JWT, JWT_SECRET: 'secret'.repeat(6) }, /^JWT_SECRET=/],
  ['CORS', 'warning', 'http://shop.example', { CORS_ORIGINS: 'http://shop.example' }, /https:/],
  ['ADMIN_DOOR', 'warning', 'open on every address', { ADMIN_PORT: '5002', ADMIN_HOST: '0.0.0.0' }, /ADMIN_HOST=/],
  ['ADMIN_TOKEN', 'wrong', 'not set', { ADMIN_TOKEN: undefined }, /^ADMIN_TOKEN=/],
  ['ADMIN_TOKEN', 'wrong', 'a word that everybody tries', { ADMIN_TOKEN: 'change-me-change-me' }, /^ADMIN_TOKEN=/],
  ['ADMIN_TOKEN', 'wrong', 'a word that everybody tries', { ADMIN_TOKEN: 'flash-sale-admin-token' }, /^ADMIN_TOKEN=/],
  ['ADMIN_TOKEN', 'wrong', 'fewer than 6 different', { ADMIN_TOKEN: 'aaaaaaaabbbbbbbb' }, /^ADMIN_TOKEN=/],
  ['ADMIN_TOKEN', 'wrong', 'a row of', { ADMIN_TOKEN: 'abcdefghijklmnop' }, /^ADMIN_TOKEN=/],
  ['ADMIN_TOKEN', 'wrong', 'a row of', { ADMIN_TOKEN: '1234567890123456' }, /^ADMIN_TOKEN=/],
  [
    'SERVER_PASSWORDS',
    'warning',
    'REDIS_URL: a word',
    { REDIS_URL: 'redis+cluster://:flash-sale@a:1,b:2' },
    /requirepass/,
  ],
  [
    'SERVER_PASSWORDS',
    'warning',
    'DATABASE_URL: a word',
    { DATABASE_URL: 'postgres://postgres:postgres@a/b' },
    /password/,
  ],
  ['HOST', 'warning', 'no proxy is named', { TRUST_PROXY: '' }, /TRUST_PROXY=.*HOST=127/],
  ['TRUST_PROXY', 'wrong', '0.0.0.0/0', { TRUST_PROXY: '10.0.0.1,0.0.0.0/0' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'wrong', '::/0', { TRUST_PROXY: '::/0' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'warning', '0.0.0.0/1, 128.0.0.0/1: wider', { TRUST_PROXY: '0.0.0.0/1,128.0.0.0/1' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'warning', '::ffff:0:0/96', { TRUST_PROXY: '::ffff:0:0/96' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'warning', '::/80', { TRUST_PROXY: '::/80' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'warning', '::ffff:8000:0/97', { TRUST_PROXY: '::ffff:8000:0/97' }, /TRUST_PROXY=/],
  ['TRUST_PROXY', 'warning', '2001::/16', { TRUST_PROXY: '10.0.0.1,2001::/16' }, /TRUST_PROXY=/],
  ['ADDRESS_LIMIT', 'warning', 'off', { IP_RATE_LIMIT: '0' }, /IP_RATE_LIMIT=200/],
  ['ADDRESS_LIMIT', 'warning', 'they share it', { HOST: 'localhost', TRUST_PROXY: '' }, /TRUST_PROXY=loopback/],
  ['RATE_LIMITS', 'warning', 'off: GLOBAL_RATE_LIMIT', { GLOBAL_RATE_LIMIT: '0' }, /GLOBAL_RATE_LIMIT=/],
  ['RATE_LIMITS', 'warning', 'off: RATE_LIMIT_TOKENS', { RATE_LIMIT_TOKENS: '0' }, /RATE_LIMIT_TOKENS=/],
  ['BACKLOG', 'warning', 'LEDGER_BEHIND', { BACKLOG_LIMIT: '1999' }, /BACKLOG_LIMIT=50000/],
  ['TIMEOUTS', 'warning', 'cuts off requests', { REQUEST_TIMEOUT_MS: '10000' }, /REQUEST_TIMEOUT_MS=2000/],
  ['TIMEOUTS', 'warning', 'until it notices', { SHUTDOWN_DRAIN_MS: '0' }, /SHUTDOWN_DRAIN_MS=5000/],
  ['METRICS', 'warning', 'every address', { METRICS_PORT: '9100', METRICS_HOST: '0.0.0.0' }, /METRICS_HOST=/],
  ['METRICS', 'warning', 'every address', { METRICS_PORT: '9100', METRICS_HOST: '::0' }, /METRICS_HOST=/],
  ['METRICS', 'warning', 'every address', { METRICS_PORT: '9100', METRICS_HOST: '0' }, /METRICS_HOST=/],
  ['METRICS', 'warning', 'every address', { METRICS_PORT: '9100', METRICS_HOST: '::ffff:0.0.0.0' }, /METRICS_HOST=/],
  [
    'METRICS',
    'warning',
    '203.0.113.5, a public',
    { METRICS_PORT: '9100', METRICS_HOST: '203.0.113.5' },
    /METRICS_HOST=/,
  ],
  ['METRICS', 'warning', 'a public', { METRICS_PORT: '9100', METRICS_HOST: '2001:db8::1' }, /METRICS_HOST=/],
  ['ADMIN_DOOR', 'warning', 'every address', { ADMIN_PORT: '5002', ADMIN_HOST: '0:0::0' }, /ADMIN_HOST=/],
  ['LOG_LEVEL', 'warning', 'error', { LOG_LEVEL: 'error' }, /LOG_LEVEL=info/],
])('%s is %s: %s', (code, outcome, found, changed, mend) => {
  const findings = bad(changed);
  expect(findings.map((finding) => [finding.code, finding.outcome])).toEqual([[code, outcome]]);
  expect(findings[0]?.found).toContain(found);
  expect(findings[0]?.mend).toMatch(mend);
  expect(findings[0]?.why).toMatch(/^[A-Z].*\.$/);
});

test('no secret is part of what is said, whatever is wrong with it', () => {
  const said = JSON.stringify([
    ...bad({
      ADMIN_TOKEN: 'passwordpassword1',
      REDIS_URL: 'redis://u:letmein@h',
      DATABASE_URL: 'postgres://u:qwerty@h/d',
    }),
    ...bad({ REDIS_URL: 'redis+cluster://u:letmein@h:1' }),
  ]);
  for (const secret of ['passwordpassword1', 'letmein', 'qwerty']) expect(said).not.toContain(secret);
});

test('a worker is not judged by what only the crowd meets', () => {
  const crowds = { ADMIN_TOKEN: undefined, TRUST_PROXY: '', GLOBAL_RATE_LIMIT: '0', IP_RATE_LIMIT: '0' };
  expect(bad(crowds, 'worker')).toEqual([]);
  expect(bad(crowds, 'api').map(({ code }) => code)).toEqual(['ADMIN_TOKEN', 'HOST', 'ADDRESS_LIMIT', 'RATE_LIMITS']);
});

test('CORS is said as it is: no answer is given to other origins', () => {
  const settings = readEnvironment(GOOD);
  const unseen = { unseen: 'x' };
  const machine = { outdated: undefined, nodeVersion: '24', openFiles: null, disks: [] };
  const said = judgeFacts({ settings, redis: unseen, postgres: unseen, ...machine }, 'all');
  expect(said.find(({ code }) => code === 'CORS')).toMatchObject({
    outcome: 'ok',
    found: expect.stringContaining('no origin is allowed'),
  });
});

test('the exit code is that of the worst finding', () => {
  const codeOf = (changed: Record<string, string | undefined>) => exitCodeOf(reportOf(bad(changed)));
  expect(codeOf({})).toBe(0);
  expect(codeOf({ IP_RATE_LIMIT: '0' })).toBe(2);
  expect(codeOf({ IP_RATE_LIMIT: '0', TRUST_PROXY: '::/0' })).toBe(1);
});
