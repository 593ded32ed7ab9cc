/** Token verification with fetched keys: rotation, an unavailable host, unknown key ids. */

import { execFileSync } from 'node:child_process';
import { createSign, generateKeyPairSync } from 'node:crypto';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTokenVerifier, KNOWN_TOKEN_MAX_MS, type TokenVerifier } from '@flash-sale/api/auth/verify-token.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { afterEach, expect, test, vi } from 'vitest';
import { AUDIENCE, ISSUER, type KeyHost, makeSigner, type Signer, startKeyHost } from '../support/key-host.ts';
import { eventually } from '../support/world.ts';

const COOLDOWN_MS = 200;
const open: { close(): unknown }[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const each of open.splice(0)) await each.close();
});

function verifierOf(
  url: string,
  times: Parameters<typeof createTokenVerifier>[1]['times'] = {},
  log = createLogger('test', 'silent', ''),
): TokenVerifier {
  const identity = {
    kind: 'jwt' as const,
    keys: { kind: 'jwks' as const, url: new URL(url) },
    issuer: ISSUER,
    audience: AUDIENCE,
  };
  const verifier = createTokenVerifier(identity, { log, times: { timeoutMs: 500, cooldownMs: COOLDOWN_MS, ...times } });
  open.push(verifier);
  return verifier;
}

async function hostOf(...signers: { publicKey: KeyHost['keys'][number] }[]): Promise<KeyHost> {
  const host = await startKeyHost(signers.map(({ publicKey }) => publicKey as never));
  open.push(host);
  return host;
}

/** A host with the keys of one signer or more, and a verifier that fetches them. */
async function hosted(times: Parameters<typeof verifierOf>[1] = {}, ...names: string[]) {
  const [signer, ...others] = await Promise.all(['k1', ...names].map((kid) => makeSigner('ES256', kid)));
  const host = await hostOf(signer as Signer);
  return { signer: signer as Signer, other: others[0] as Signer, host, verifier: verifierOf(host.url, times) };
}

/** Until the key host may be asked again: nothing signals it. */
const whenCool = () => new Promise((resolve) => setTimeout(resolve, COOLDOWN_MS + 50));

/** Blocks every verification: Node's threads wait for pipes. @returns unblocks them */
function holdThreads(): () => Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-verify-'));
  const pipes = Array.from({ length: Number(process.env.UV_THREADPOOL_SIZE ?? 4) }, (_, i) => join(folder, String(i)));
  execFileSync('mkfifo', pipes);
  const waiting = pipes.map(async (pipe) => (await openFile(pipe, 'r')).close());
  return async () => {
    for (const pipe of pipes) closeSync(openSync(pipe, 'w'));
    await Promise.all(waiting);
    rmSync(folder, { recursive: true });
  };
}

test.each(['RS256', 'ES256', 'EdDSA'] as const)('a token signed with %s identifies its subject', async (alg) => {
  const signer = await makeSigner(alg, 'k1');
  const host = await hostOf(signer);
  expect(await verifierOf(host.url).verify(await signer.token({ sub: 'buyer-7' }))).toEqual({
    kind: 'buyer',
    buyerId: 'buyer-7',
  });
});

test('an RSA key that is too short: 503, and one log line for all tokens', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1_024 });
  const host = await hostOf({
    publicKey: { ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'RS256', use: 'sig' } as never,
  });
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-verify-'));
  open.push({ close: () => rmSync(folder, { recursive: true }) });
  const file = join(folder, 'log');
  const verifier = verifierOf(host.url, {}, createLogger('test', 'warn', file));
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'RS256', kid: 'k1' })}.${part({ iss: ISSUER, aud: AUDIENCE, sub: 'ann', exp: 4e9 })}`;
  const token = `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey).toString('base64url')}`;
  for (let i = 0; i < 20; i++) expect((await verifier.verify(token)).kind).toBe('keys_unavailable');
  const lines = () => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []);
  await eventually('a line is logged', 5_000, () => lines().length > 0);
  expect(lines().map((line) => JSON.parse(line).err)).toEqual([expect.stringContaining('2048 bits or larger')]);
});

test.each([
  ['after a verification', Date],
  ['in the search for a key', performance],
])('a bug of ours %s is no outage of the issuer', async (_, clock) => {
  const { signer, verifier } = await hosted();
  const [first, second] = [await signer.token(), await signer.token({ sub: 'bob' })];
  expect((await verifier.verify(first)).kind).toBe('buyer');
  vi.spyOn(clock, 'now').mockImplementation(() => {
    throw new TypeError('a bug');
  });
  await expect(verifier.verify(second)).rejects.toThrow('a bug');
});

test('a rotated key is fetched at once, and once for a crowd', async () => {
  const [before, after] = [await makeSigner('ES256', 'k1'), await makeSigner('ES256', 'k2')];
  const host = await hostOf(before);
  const log = createLogger('test', 'silent', '');
  const info = vi.spyOn(log, 'info');
  const verifier = verifierOf(host.url, {}, log);
  expect((await verifier.verify(await before.token())).kind).toBe('buyer');
  host.keys = [before.publicKey, after.publicKey];
  await whenCool();
  const token = await after.token();
  const words = await Promise.all(Array.from({ length: 50 }, async () => (await verifier.verify(token)).kind));
  expect(new Set(words)).toEqual(new Set(['buyer']));
  expect(host.asked).toBe(2);
  expect(info.mock.calls).toEqual([1, 2].map((keys) => [expect.objectContaining({ keys }), 'token keys fetched']));
});

test('a removed key is no longer trusted, nor are cached tokens that it signed', async () => {
  const { signer: leaked, other: fresh, host, verifier } = await hosted({ refreshMs: 100 }, 'k2');
  const token = await leaked.token({ iat: Math.floor(Date.now() / 1_000) - 60 });
  expect((await verifier.verify(token)).kind).toBe('buyer');
  expect(verifier.recall(token)).toBe('ann');
  host.keys = [fresh.publicKey];
  await eventually('it is forgotten', 5_000, () => verifier.recall(token) === null);
  expect((await verifier.verify(token)).kind).toBe('invalid');
});

test('a key that is removed during a verification lets nobody in', async () => {
  const { signer: leaked, other: fresh, host, verifier } = await hosted({ refreshMs: 50, cooldownMs: 0 }, 'k2');
  const [first, second] = [await leaked.token(), await leaked.token({ sub: 'eve', exp: 4_102_444_800 })];
  expect((await verifier.verify(first)).kind).toBe('buyer');
  const letGo = holdThreads();
  let outcome: Promise<{ kind: string }>;
  try {
    outcome = verifier.verify(second);
    host.keys = [fresh.publicKey];
    await eventually('the keys are others', 5_000, () => verifier.recall(first) === null);
  } finally {
    await letGo();
  }
  expect((await outcome).kind).toBe('invalid');
  expect(verifier.recall(second)).toBeNull();
});

test('a token is verified again after some minutes, however late it expires', async () => {
  const { signer, verifier } = await hosted();
  const token = await signer.token({ exp: 4_102_444_800 });
  expect((await verifier.verify(token)).kind).toBe('buyer');
  const now = performance.now();
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now + KNOWN_TOKEN_MAX_MS - 60_000);
  // The cache reads the clock once in a millisecond.
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(verifier.recall(token)).toBe('ann');
  clock.mockReturnValue(now + KNOWN_TOKEN_MAX_MS + 1);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(verifier.recall(token)).toBeNull();
});

test('an unknown key id within the cooldown: 401 only if the token is older than the keys', async () => {
  const { signer: known, other: rotatedIn, host, verifier } = await hosted({ cooldownMs: 1_000 }, 'k2');
  expect((await verifier.verify(await known.token())).kind).toBe('buyer');
  host.keys = [known.publicKey, rotatedIn.publicKey];
  const token = await rotatedIn.token();
  const old = await rotatedIn.token({ iat: Math.floor(Date.now() / 1_000) - 60 }, { kid: 'made-up' });
  // A stranger keeps the host in its cooldown. Meanwhile the buyer never gets a false 401.
  const words = new Set<string>();
  expect((await verifier.verify(old)).kind).toBe('invalid');
  await eventually('it is found', 10_000, async () => {
    await verifier.verify(await known.token({}, { kid: 'made-up' }));
    const { kind } = await verifier.verify(token);
    words.add(kind);
    return kind === 'buyer';
  });
  expect(words).toEqual(new Set(['keys_unavailable', 'buyer']));
});

test('a token that names no key is verified with each of them', async () => {
  const [one, other, foreign] = await Promise.all(['k1', 'k2', 'k3'].map((kid) => makeSigner('ES256', kid)));
  const verifier = verifierOf((await hostOf(one as Signer, other as Signer)).url);
  const nameless = (signer: Signer | undefined) => (signer as Signer).token({}, { kid: undefined });
  for (const signer of [one, other]) expect((await verifier.verify(await nameless(signer))).kind).toBe('buyer');
  expect((await verifier.verify(await nameless(foreign))).kind).toBe('invalid');
  expect((await verifier.verify(await (other as Signer).token({ exp: 1 }, { kid: undefined }))).kind).toBe('expired');
});

test('a flood of unknown key ids causes one fetch per cooldown', async () => {
  const { signer, host, verifier } = await hosted({ cooldownMs: 60_000 });
  expect((await verifier.verify(await signer.token())).kind).toBe('buyer');
  for (let i = 0; i < 100; i++) {
    expect((await verifier.verify(await signer.token({}, { kid: `made-up-${i}` }))).kind).toBe('keys_unavailable');
  }
  expect(host.asked).toBe(1);
});

test.each(['silent', 'broken'] as const)(
  'a host that is %s: known keys stay in use, unknown ones get 503',
  async (manner) => {
    const { signer: known, other: unknown, host, verifier } = await hosted({ refreshMs: 50 }, 'k2');
    expect((await verifier.verify(await known.token())).kind).toBe('buyer');
    host.manner = manner;
    const { asked } = host;
    await eventually('it was asked again', 5_000, () => host.asked > asked);
    expect((await verifier.verify(await known.token({ sub: 'bob' }))).kind).toBe('buyer');
    await whenCool();
    // The key may be new: 401 could be wrong.
    expect((await verifier.verify(await unknown.token())).kind).toBe('keys_unavailable');
    host.manner = 'well';
    host.keys = [known.publicKey, unknown.publicKey];
    await eventually('it is found', 5_000, async () => (await verifier.verify(await unknown.token())).kind === 'buyer');
  },
);

test('a host that was never available: 503, few fetches, and recovery when it answers', async () => {
  const { signer, host, verifier } = await hosted({ cooldownMs: 1_000 });
  host.manner = 'broken';
  const token = await signer.token();
  for (let i = 0; i < 100; i++) expect((await verifier.verify(token)).kind).toBe('keys_unavailable');
  expect(host.asked).toBeLessThanOrEqual(2);
  host.manner = 'well';
  await eventually('it is verified', 10_000, async () => (await verifier.verify(token)).kind === 'buyer');
});

test('keys are trusted for a bounded time while the host is unavailable', async () => {
  const { signer, host, verifier } = await hosted({ staleMaxMs: 300 });
  const remembered = await signer.token();
  expect((await verifier.verify(remembered)).kind).toBe('buyer');
  host.manner = 'broken';
  await eventually(
    'they are too old',
    5_000,
    async () => (await verifier.verify(await signer.token())).kind === 'keys_unavailable',
  );
  expect(verifier.recall(remembered)).toBeNull();
  host.manner = 'well';
  await eventually('they are fetched again', 5_000, async () => (await verifier.verify(remembered)).kind === 'buyer');
  expect(verifier.recall(remembered)).toBe('ann');
});

test.each(['redirecting', 'dripping'] as const)('a host that is %s: its keys are not trusted', async (manner) => {
  const { signer, host, verifier } = await hosted();
  host.manner = manner;
  expect((await verifier.verify(await signer.token())).kind).toBe('keys_unavailable');
});

test.each([
  ['no JSON', '<html>'],
  ['no key set', '{"keys":1}'],
  ['no list', '{"keys":{"length":1e9}}'],
  ['without end', `{"keys":[],"x":"${'a'.repeat(300_000)}"}`],
])('a key set that is %s is not trusted', async (_what, text) => {
  const { signer, host, verifier } = await hosted();
  host.keys = text;
  expect((await verifier.verify(await signer.token())).kind).toBe('keys_unavailable');
});
