/** AUTH and the JWT settings: which combinations are refused at start. */
import { expect, test } from 'vitest';
import { EnvironmentError, readEnvironment } from './environment.ts';
import { readIdentity } from './identity.ts';

const read = (variables: Record<string, string>) => readIdentity(readEnvironment(variables));
const OURS = { AUTH: 'jwt', JWT_ISSUER: 'https://id.example', JWT_AUDIENCE: 'flash-sale' };
const SECRET = { JWT_SECRET: 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E' };
const KEYS = { JWT_JWKS_URL: 'https://id.example/jwks.json' };

test('AUTH defaults to a header in development, and is required in production', () => {
  expect(read({})).toEqual({ kind: 'header' });
  expect(read({ NODE_ENV: 'production', AUTH: 'header' })).toEqual({ kind: 'header' });
  expect(() => read({ NODE_ENV: 'production' })).toThrow(EnvironmentError);
  expect(() => read({ NODE_ENV: 'production' })).toThrow(/^AUTH is not set\. .*AUTH=jwt.*or AUTH=header/);
});

test('tokens are verified by a secret or by keys', () => {
  expect(read({ ...OURS, ...SECRET })).toMatchObject({ kind: 'jwt', keys: { kind: 'secret' } });
  expect(read({ NODE_ENV: 'production', ...OURS, ...KEYS })).toMatchObject({ kind: 'jwt', keys: { kind: 'jwks' } });
  // Loopback traffic cannot be intercepted.
  const here = { JWT_JWKS_URL: 'http://127.0.0.1:8080/jwks.json' };
  expect(read({ NODE_ENV: 'production', ...OURS, ...here })).toMatchObject({ kind: 'jwt' });
});

test.each<[string, Record<string, string>, RegExp]>([
  ['neither', OURS, /JWT_JWKS_URL and JWT_SECRET are not set/],
  ['both', { ...OURS, ...SECRET, ...KEYS }, /both set. Remove one/],
  ['no issuer', { ...OURS, ...SECRET, JWT_ISSUER: '' }, /JWT_ISSUER is not set/],
  ['no audience', { ...OURS, ...SECRET, JWT_AUDIENCE: '' }, /JWT_AUDIENCE is not set/],
  ['a password in the address', { ...OURS, JWT_JWKS_URL: 'https://u:p@id.example/' }, /without user and password/],
  [
    'keys in the clear in production',
    { ...OURS, NODE_ENV: 'production', JWT_JWKS_URL: 'http://id.example/' },
    /Production needs https/,
  ],
  ...Object.entries({ ...OURS, ...SECRET, ...KEYS })
    .filter(([name]) => name !== 'AUTH')
    .map(([name, value]): [string, Record<string, string>, RegExp] => [
      `${name} without AUTH=jwt`,
      { [name]: value },
      new RegExp(`^${name} has no effect without AUTH=jwt`),
    ]),
])('%s is refused with a sentence', (_what, variables, sentence) => {
  expect(() => read(variables)).toThrow(EnvironmentError);
  expect(() => read(variables)).toThrow(sentence);
});
