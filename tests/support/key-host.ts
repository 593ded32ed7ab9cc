/** A token issuer: signs tokens and serves keys, which can be rotated, delayed and removed. */
import type { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

export const ISSUER = 'https://id.example';
export const AUDIENCE = 'flash-sale';

type Algorithm = 'RS256' | 'ES256' | 'EdDSA';

export interface Signer {
  readonly publicKey: JWK;
  /** @param claims over those of a good token; undefined takes one away */
  token(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
}

export async function makeSigner(alg: Algorithm, kid: string): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return {
    publicKey: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' },
    token: (claims, header) => sign(privateKey, { alg, kid, ...header }, claims),
  };
}

/** A token that is valid for five minutes, except for what is changed. */
export async function sign(
  key: webcrypto.CryptoKey | Uint8Array,
  header: Record<string, unknown> & { alg: string },
  changed: Record<string, unknown> = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'ann', iat: now, exp: now + 300, ...changed };
  const payload = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return new SignJWT(payload as JWTPayload).setProtectedHeader(header).sign(key);
}

export interface KeyHost {
  readonly url: string;
  /** What it serves; a text is sent as it stands. */
  keys: JWK[] | string;
  /** silent: no reply; dripping: a byte at a time, without an end. */
  manner: 'well' | 'silent' | 'broken' | 'redirecting' | 'dripping';
  /** How often it was asked. */
  readonly asked: number;
  close(): Promise<void>;
}

export async function startKeyHost(keys: JWK[]): Promise<KeyHost> {
  const server = createServer((request, response) => {
    host.asked += 1;
    // Some issuers answer 406 without it.
    if (request.headers.accept !== 'application/json, application/jwk-set+json')
      return void response.writeHead(406).end();
    if (host.manner === 'silent') return;
    if (host.manner === 'dripping') {
      const timer = setInterval(() => response.write(' '), 100);
      return void response.once('close', () => clearInterval(timer));
    }
    if (host.manner === 'redirecting' && request.url === '/jwks.json')
      return void response.writeHead(302, { location: '/elsewhere' }).end();
    response.statusCode = host.manner === 'broken' ? 500 : 200;
    response.end(typeof host.keys === 'string' ? host.keys : JSON.stringify({ keys: host.keys }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    keys: keys as JWK[] | string,
    manner: 'well' as KeyHost['manner'],
    asked: 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return host;
}
