/** Parsing of settings: defaults, and the message for each invalid value. */
import { expect, test } from 'vitest';
import { EnvironmentError, readEnvironment, requireSetting } from './environment.ts';
import { CONSTANTS } from './settings.ts';

test('without variables, the defaults of development apply', () => {
  expect(readEnvironment({})).toMatchObject({
    NODE_ENV: 'development',
    PORT: 5001,
    GLOBAL_RATE_LIMIT: 2_000,
    RATE_LIMIT_TOKENS: 100,
    TOKEN_REFILL_RATE: 20,
    IP_RATE_LIMIT: 0,
    TRUST_PROXY: '',
  });
});

test('production has defaults of its own, which a variable overrides', () => {
  expect(readEnvironment({ NODE_ENV: 'production' })).toMatchObject({
    RATE_LIMIT_TOKENS: 20,
    GLOBAL_RATE_LIMIT: 5_000,
    DATABASE_POOL_SIZE: 50,
    REQUEST_TIMEOUT_MS: 2_000,
    DEMO_SALES: 'off',
  });
  expect(readEnvironment({ NODE_ENV: 'production', DEMO_SALES: 'on' }).DEMO_SALES).toBe('on');
  expect(readEnvironment({ NODE_ENV: 'production', GLOBAL_RATE_LIMIT: '7' }).GLOBAL_RATE_LIMIT).toBe(7);
});

test('constants are set by name in tests only', () => {
  expect(readEnvironment({ NODE_ENV: 'test', ORPHAN_AGE_MS: '500' }).ORPHAN_AGE_MS).toBe(500);
  expect(readEnvironment({ ORPHAN_AGE_MS: '500' }).ORPHAN_AGE_MS).toBe(10_000);
});

test('proxies are addresses, ranges and names', () => {
  for (const list of ['loopback', '10.0.0.0/8, 192.0.2.1', '::1,fd00::/8']) {
    expect(readEnvironment({ TRUST_PROXY: list }).TRUST_PROXY).toBe(list);
  }
});

test('an empty text counts as unset', () => {
  expect(readEnvironment({ PORT: '', ADMIN_TOKEN: ' ' })).toMatchObject({ PORT: 5001 });
});

test('a share is a plain decimal number', () => {
  for (const [text, share] of [
    ['0', 0],
    ['0.25', 0.25],
    ['1', 1],
  ] as const) {
    const given = { OTEL_TRACES_SAMPLER_ARG: text, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' };
    expect(readEnvironment(given).OTEL_TRACES_SAMPLER_ARG).toBe(share);
  }
  for (const text of ['1.5', '-0.1', '1e-3', '.5', '10%'])
    expect(() => readEnvironment({ OTEL_TRACES_SAMPLER_ARG: text })).toThrow(
      `OTEL_TRACES_SAMPLER_ARG is "${text}". Expected: Share of requests`,
    );
  expect(() => readEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: 'localhost:4318' })).toThrow(
    'OTEL_EXPORTER_OTLP_ENDPOINT is "localhost:4318".',
  );
});

test.each([
  ['PORT', 'abc', 'PORT is "abc".'],
  ['PORT', '70000', 'A whole number from 1 to 65535.'],
  ['PORT', '1e3', 'PORT is "1e3".'],
  ['GLOBAL_RATE_LIMIT', '-1', 'A whole number from 0'],
  // A stopping process would cut off what it waits for.
  ['REQUEST_TIMEOUT_MS', String(CONSTANTS.SHUTDOWN_TIMEOUT_MS), 'A whole number from 100'],
  ['NODE_ENV', 'prod', 'development, production or test'],
  ...[
    ['localhost:6379', 'it does not begin with redis:// or rediss://. Expected: redis://user:password@host:6379/0'],
    ['/run/redis.sock', 'it does not begin with redis://'],
    ['redis://a:1/abc', 'the database number abc is not a whole number'],
    ['redis://u:secret@a:1/-1', 'the database number -1 is not a whole number'],
    ['redis://u:12/ss@a:1', 'a host is missing, or / ? # @ in user or password are not percent-encoded'],
    ['redis://u:12/s?s@a:1', 'a host is missing, or / ? # @ in user or password are not percent-encoded'],
    ['redis://a:1?db=3', 'it has an unknown option'],
    ['redis://a:1,b:2', 'several hosts need redis+cluster:// or redis+sentinel://'],
    ['redis://a:70000', 'a host, a port'],
    ['redis+sentinel://u:secret@a:1', "behind the sentinels, it needs the master's name"],
    ['redis+cluster://u:secret@a:1/3', 'a cluster has database 0 only'],
    ['redis://a:1?ca_file=/ca.pem', 'ca_file needs a path, and rediss://'],
  ].map(([url, fault]) => ['REDIS_URL', url, `REDIS_URL does not fit: ${fault}`] as [string, string, string]),
  ['DATABASE_URL', 'mysql://x', 'DATABASE_URL has a value that does not fit.'],
  ['ADMIN_TOKEN', 'short', '16 to 512 printable characters'],
  ['TRUST_PROXY', 'abc', 'TRUST_PROXY is "abc".'],
  ['TRUST_PROXY', '1', 'addresses or ranges'],
  ['TRUST_PROXY', '10.0.0.0/33', 'addresses or ranges'],
  ['KEY_PREFIX', '{x}', 'KEY_PREFIX is "{x}".'],
  ['AUTH', 'none', 'AUTH is "none". Expected: jwt:'],
  ['JWT_SECRET', 'too-short', 'JWT_SECRET has a value that does not fit. Expected: Secret of HS256 tokens'],
  ['CORS_ORIGINS', '*', 'CORS_ORIGINS is "*". Expected: Origins whose pages'],
  ['CORS_ORIGINS', 'https://shop.example/', 'without a path'],
  ['CORS_ORIGINS', 'https://a.example,shop', 'CORS_ORIGINS is'],
  ['ADMIN_PORT', '5001', 'ADMIN_PORT is 5001, which is PORT.'],
])('%s=%s is refused with a sentence', (name, value, sentence) => {
  expect(() => readEnvironment({ [name]: value })).toThrow(EnvironmentError);
  expect(() => readEnvironment({ [name]: value })).toThrow(sentence);
});

test('settings of other processes, and those of something that is off, are accepted', () => {
  const ofTheApi = { JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'shop' };
  const off = { METRICS_PORT: '0', METRICS_HOST: '10.0.0.4', RATE_LIMIT_TOKENS: '0', TOKEN_REFILL_RATE: '5' };
  expect(readEnvironment({ ...ofTheApi, ...off })).toMatchObject({ ...ofTheApi, METRICS_HOST: '10.0.0.4' });
});

test('each wrong setting is named once, and no secret is shown', () => {
  let message = '';
  try {
    readEnvironment({ PORT: 'x', ADMIN_TOKEN: 'hunter2', REDIS_URL: 'http://:secret@host' });
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message.split('\n')).toHaveLength(3);
  expect(message).not.toContain('hunter2');
  expect(message).not.toContain('secret@');
});

test('a required setting that is missing is an error with its name', () => {
  expect(() => requireSetting(readEnvironment({}), 'REDIS_URL')).toThrow('REDIS_URL is not set.');
});
