/** AUTH=jwt over real HTTP: which tokens identify a buyer, and how the others are refused. */
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Answer, BEARER, type TestApi, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { AUDIENCE, ISSUER, type KeyHost, makeSigner, type Signer, sign, startKeyHost } from '../support/key-host.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const SECRET = 'sT4-kq9ZxW7mPv2LrB8nYc5HdF1jGa6E';
const bySecret = (claims?: Record<string, unknown>, header?: Record<string, unknown>, secret = SECRET) =>
  sign(new TextEncoder().encode(secret), { alg: 'HS256', ...header }, claims);
const seconds = () => Math.floor(Date.now() / 1_000);
const part = (value: unknown) =>
  (Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value))).toString('base64url');
const GOOD = { iss: ISSUER, aud: AUDIENCE, sub: 'ann', exp: 4e9 };
/** Signs what the library refuses to sign. */
function signedBy(header: object, claims: object, secret = SECRET): string {
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

const JWT = { AUTH: 'jwt', JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE } as const;
const world = useWorld();
const api = useApi(world, () => ({ ...JWT, JWT_SECRET: SECRET }));
let signer: Signer;
let host: KeyHost;
beforeAll(async () => {
  signer = await makeSigner('RS256', 'k1');
  host = await startKeyHost([signer.publicKey]);
});
afterAll(() => host.close());
const byKeys = useApi(world, () => ({ ...JWT, JWT_JWKS_URL: host.url }));

const order = (headers: Record<string, string>, saleId = 'none', at: TestApi = api): Promise<Answer> =>
  at.ask(`/api/flash-sales/${saleId}/order`, { method: 'POST', headers });
const challengeOf = ({ headers }: Answer) => headers.get('www-authenticate');
const withToken = (token: string) => ({ authorization: `Bearer ${token}` });

test('the subject orders, and reads the order; X-User-ID is ignored', async () => {
  const sale = await makeSale(world);
  const ann = withToken(await bySecret());
  const placed = await order({ ...ann, 'x-user-id': 'bob' }, sale.id);
  expect(placed.body.status).toBe('accepted');
  const reservation = await api.connections.inventory.findReservation(sale.id, placed.body.order_id);
  expect(reservation as unknown).toMatchObject({ buyerId: 'ann' });
  const read = async (headers: Record<string, string>) =>
    (await api.get(`/api/orders/${placed.body.order_id}`, headers)).word;
  expect(await read(ann)).toBe('200 pending');
  expect(await read(withToken(await bySecret({ sub: 'bob' })))).toBe('404 ORDER_NOT_FOUND');
  expect(await read({ 'x-user-id': 'ann' })).toBe('401 BUYER_REQUIRED');
});

test('[I10] an operator reads any order and its buyer; the operator’s token identifies no buyer', async () => {
  const sale = await makeSale(world);
  const { body } = await order(withToken(await bySecret()), sale.id);
  const read = (headers: Record<string, string>, id = body.order_id) => api.get(`/api/admin/orders/${id}`, headers);
  const found = await read(BEARER);
  expect(found.status).toBe(200);
  expect(found.body).toMatchObject({ order_id: body.order_id, status: 'pending', buyer_id: 'ann' });
  expect((await read(withToken(await bySecret()))).status).toBe(401);
  expect((await read(BEARER, `${sale.id}-00000000000000000000000000`)).status).toBe(404);
  expect((await order(BEARER)).word).toBe('401 INVALID_TOKEN');
});

test('[trap 27] Authorization in another form is refused', async () => {
  const good = await bySecret();
  for (const form of [
    good,
    `Bearer${good}`,
    `Basic ${good}`,
    `Bearer ${good} ${good}`,
    `Bearer ${good},${good}`,
    `Bearer "${good}"`,
    'Bearer',
  ])
    expect((await order({ authorization: form })).status, form).toBe(401);
  expect((await order({ 'proxy-authorization': `Bearer ${good}` })).status).toBe(401);
});

test.each<[string, Record<string, string>]>([
  ['nothing', {}],
  ['another scheme', { authorization: 'Basic YW5uOg==' }],
  ['an empty token', { authorization: 'Bearer ' }],
  ['a name only', { 'x-user-id': 'ann' }],
])('[trap 27] %s instead of a token: 401 with a challenge', async (_what, headers) => {
  const answer = await order(headers);
  expect([answer.word, challengeOf(answer)]).toEqual(['401 BUYER_REQUIRED', 'Bearer']);
  expect(answer.body.retryable).toBe(false);
});

test.each<[string, () => Promise<string> | string]>([
  ['no parts', () => 'abc'],
  ['three parts of nothing', () => '..'],
  ['signed by another secret', () => bySecret({}, {}, 'another-secret-of-the-same-length!!')],
  ['alg none', () => `${part({ alg: 'none' })}.${part(GOOD)}.`],
  ['alg nOnE', () => `${part({ alg: 'nOnE' })}.${part(GOOD)}.`],
  ['no algorithm', () => `${part({})}.${part({ sub: 'ann' })}.x`],
  ['HS512', () => sign(new TextEncoder().encode(SECRET + SECRET), { alg: 'HS512' })],
  ['its signature cut off', async () => (await bySecret()).replace(/[^.]+$/, '')],
  ['its claims exchanged', async () => (await bySecret()).replace(/\.[^.]+\./, `.${part({ sub: 'bob', exp: 4e9 })}.`)],
  ['another issuer', () => bySecret({ iss: 'https://evil.example' })],
  ['an issuer that begins like ours', () => bySecret({ iss: `${ISSUER}.evil.example` })],
  ['no issuer', () => bySecret({ iss: undefined })],
  ['another audience', () => bySecret({ aud: 'another-shop' })],
  ['no audience', () => bySecret({ aud: undefined })],
  ['no expiry', () => bySecret({ exp: undefined })],
  ['an expiry that is a text', () => bySecret({ exp: '4000000000' })],
  ['not valid yet', () => bySecret({ nbf: seconds() + 60 })],
  ['issued in the future', () => bySecret({ iat: seconds() + 600 })],
  ['no subject', () => bySecret({ sub: undefined })],
  ['a subject that is a number', () => bySecret({ sub: 7 })],
  ['a subject that is a list', () => bySecret({ sub: ['ann'] })],
  ['an empty subject', () => bySecret({ sub: '' })],
  ['a subject with a space', () => bySecret({ sub: 'a b' })],
  ['a subject with a line break', () => bySecret({ sub: 'ann\nadmin' })],
  ['a subject that is too long', () => bySecret({ sub: 'x'.repeat(129) })],
  ['an expiry that is null', () => signedBy({ alg: 'HS256' }, { ...GOOD, exp: null })],
  ['a list of algorithms', () => signedBy({ alg: ['HS256'] }, GOOD)],
  ['an empty secret', () => signedBy({ alg: 'HS256' }, GOOD, '')],
  ['an unencoded payload', () => signedBy({ alg: 'HS256', b64: false, crit: ['b64'] }, GOOD)],
  ['no signature but encryption', () => `${part({ alg: 'dir', enc: 'A256GCM', zip: 'DEF' })}..AAAA.AAAA.AAAA`],
  ['four parts', async () => `${await bySecret()}.AAAA`],
  ['a signature in another alphabet', async () => `${(await bySecret()).slice(0, -2)}+/`],
  ['claims that are no UTF-8', () => signedBy({ alg: 'HS256' }, Buffer.from([0xff, 0xfe, 0xfd]))],
  ['deep claims', () => signedBy({ alg: 'HS256' }, Buffer.from(`${'{"a":'.repeat(900)}1${'}'.repeat(900)}`))],
  ['claims of a prototype', () => signedBy({ alg: 'HS256' }, Buffer.from(`{"__proto__":${JSON.stringify(GOOD)}}`))],
  ['a critical extension', () => signedBy({ alg: 'HS256', crit: ['exp2'], exp2: 1 }, GOOD)],
  ['longer than any', () => bySecret({ x: 'y'.repeat(9_000) })],
])('a token with %s is refused: 401 INVALID_TOKEN', async (_what, make) => {
  const answer = await order(withToken(await make()));
  expect([answer.word, challengeOf(answer)]).toEqual(['401 INVALID_TOKEN', 'Bearer error="invalid_token"']);
});

test('an expired token is TOKEN_EXPIRED, also if it was cached; 5 s of clock difference are tolerated', async () => {
  const expired = await order(withToken(await bySecret({ exp: seconds() - 60 })));
  const challenge = 'Bearer error="invalid_token", error_description="expired"';
  expect([expired.word, challengeOf(expired)]).toEqual(['401 TOKEN_EXPIRED', challenge]);
  for (const exp of [-1, 0, seconds() - 7])
    expect((await order(withToken(await bySecret({ exp })))).body.code).toBe('TOKEN_EXPIRED');
  expect((await order(withToken(await bySecret({ nbf: seconds() + 3 })))).body.code).toBe('SALE_NOT_FOUND');
  const ending = withToken(await bySecret({ exp: seconds() - 3 }));
  expect((await order(ending)).body.code).toBe('SALE_NOT_FOUND');
  await eventually('it has expired', 10_000, async () => (await order(ending)).body.code === 'TOKEN_EXPIRED');
});

test('the issuer’s keys verify its tokens, and none that were made from public data', async () => {
  expect((await order(withToken(await signer.token()), 'none', byKeys)).body.code).toBe('SALE_NOT_FOUND');
  // The public key used as a secret: as it is served, and as PEM.
  const pem = generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({ type: 'spki', format: 'pem' });
  for (const secret of [JSON.stringify(signer.publicKey), signer.publicKey.n as string, String(pem), SECRET]) {
    const forged = await bySecret({}, { kid: 'k1' }, secret);
    expect((await order(withToken(forged), 'none', byKeys)).body.code).toBe('INVALID_TOKEN');
  }
  // A key in the token, or one that the token says where to fetch.
  const other = await makeSigner('RS256', 'k1');
  const asked = host.asked;
  const kids = ['../../dev/null', "' UNION SELECT 'k", 'http://127.0.0.1:1/k', '__proto__', '', 'x'.repeat(4_000)];
  const headers = [
    { jwk: other.publicKey },
    { jku: host.url },
    { x5u: host.url, x5c: ['AAAA'] },
    ...kids.map((kid) => ({ kid })),
  ];
  for (const header of headers) {
    const forged = await other.token({ iat: seconds() - 3_600 }, header);
    expect((await order(withToken(forged), 'none', byKeys)).body.code, JSON.stringify(header)).toBe('INVALID_TOKEN');
  }
  // An unknown key may be new, and the host was asked just now: the client may retry.
  const told = await byKeys.get('/api/orders/none', withToken(await other.token({}, { kid: 'made-up' })));
  expect([told.status, told.headers.get('retry-after')]).toEqual([503, '1']);
  expect(host.asked - asked).toBeLessThanOrEqual(1);
});

test('unavailable keys: 503, retryable, and nothing is taken', async () => {
  const sale = await makeSale(world);
  const settings = { ...JWT, JWT_JWKS_URL: 'http://127.0.0.1:9/jwks.json' };
  await withApi(world, settings, async (lonely) => {
    const { body } = await order(withToken(await signer.token()), sale.id, lonely);
    expect(body).toMatchObject({ status: 503, code: 'IDENTITY_UNAVAILABLE', retryable: true });
    expect(await lonely.available(sale.id)).toBe(10);
    expect(world.lines.some(({ msg }) => msg === 'token keys not fetched')).toBe(true);
  });
});

test('the API reference names how buyers are identified', async () => {
  const { body: reference } = await api.get('/docs/json');
  expect(reference.components.securitySchemes.buyer_token).toMatchObject({ type: 'http', scheme: 'bearer' });
  for (const route of [
    reference.paths['/api/flash-sales/{product_id}/order'].post,
    reference.paths['/api/orders/{order_id}'].get,
  ])
    expect(route.security).toEqual([{ buyer: [] }, { buyer_token: [] }]);
});
