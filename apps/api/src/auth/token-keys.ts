/**
 * The keys by which tokens are verified: a secret, or a key set (JWKS) that is fetched from the issuer.
 *   A key set is asked for at the start and then every minute, in the background: no buyer waits for it. Where its host is away, the keys
 *   that were had last stay in use for some hours.
 *   A token with an unknown key has it asked for at once (a key was rotated), though not more often than the cooldown allows. Until then
 *   nothing is said of a token that may be newer than the keys.
 */
import { createSecretKey, type webcrypto } from 'node:crypto';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import {
  KEY_SET_BYTES_MAX,
  KEY_SET_COOLDOWN_MS,
  KEY_SET_REFRESH_MS,
  KEY_SET_STALE_MAX_MS,
  KEY_SET_TIMEOUT_MS,
  RSA_BITS_MIN,
  TOKEN_CLOCK_LEEWAY_S,
} from '@flash-sale/core/config/identity-limits.ts';
import { createRemoteJWKSet, customFetch, decodeJwt, errors, type FlattenedJWSInput, type JWTVerifyGetKey } from 'jose';
import type { Logger } from 'pino';

/** The keys cannot be had now, so that nothing can be said of the token. */
export class KeysUnavailableError extends Error {}

export interface TokenKeys {
  /** Which signatures are looked at: one kind of key only, so that a public key is never taken for a secret. */
  readonly algorithms: string[];
  /** @throws KeysUnavailableError, or what jose throws where there is no such key */
  readonly keyOf: JWTVerifyGetKey;
  /** Whether what was verified by these keys still counts: they were had not too long ago. */
  areBelieved(): boolean;
  close(): void;
}

/** @param onChange the keys are others than before: what was verified by them is to be forgotten */
export function createTokenKeys(
  keys: Extract<Identity, { kind: 'jwt' }>['keys'],
  options: { log: Logger; onChange: () => void; times?: Partial<KeySetTimes> },
): TokenKeys {
  if (keys.kind === 'jwks') return createKeySet(keys.url, options);
  const secret = createSecretKey(keys.secret, 'utf8');
  return { algorithms: ['HS256'], keyOf: async () => secret, areBelieved: () => true, close: () => {} };
}

/** Milliseconds; tests have shorter ones. */
export interface KeySetTimes {
  readonly timeoutMs: number;
  readonly refreshMs: number;
  readonly cooldownMs: number;
  readonly staleMaxMs: number;
}

const TIMES: KeySetTimes = {
  timeoutMs: KEY_SET_TIMEOUT_MS,
  refreshMs: KEY_SET_REFRESH_MS,
  cooldownMs: KEY_SET_COOLDOWN_MS,
  staleMaxMs: KEY_SET_STALE_MAX_MS,
};

function createKeySet(
  url: URL,
  { log, onChange, times }: { log: Logger; onChange: () => void; times?: Partial<KeySetTimes> },
): TokenKeys {
  const { timeoutMs, refreshMs, cooldownMs, staleMaxMs } = { ...TIMES, ...times };
  let text: string | null = null;
  /** The key set of which it was said that a key of it cannot be used. */
  let complainedOf: string | null = null;
  let hadAt = Number.NEGATIVE_INFINITY;
  /** When the asking began that brought them, by the clock. */
  let ofTime = 0;
  let failedAt = Number.NEGATIVE_INFINITY;
  let isAway = false;
  let underWay: Promise<void> | null = null;

  function noteFailure(error: Error): void {
    const because = error.cause instanceof Error ? error.cause.message : error.message;
    if (!isAway) log.warn({ host: url.host, err: because }, 'the keys of tokens cannot be fetched');
    isAway = true;
    failedAt = performance.now();
  }

  const keySet = createRemoteJWKSet(url, {
    timeoutDuration: timeoutMs,
    // When it is asked for is decided below: the library would let buyers wait, and ask a host that is away again and again.
    cooldownDuration: Number.POSITIVE_INFINITY,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    [customFetch]: async (address, init) => {
      const response = await fetch(address, init);
      return new Response(await readBounded(response), { status: response.status });
    },
  });

  async function fetchKeys(): Promise<void> {
    const askedAt = Date.now();
    try {
      await keySet.reload();
    } catch (error) {
      noteFailure(error as Error);
      throw new KeysUnavailableError();
    }
    hadAt = performance.now();
    ofTime = askedAt;
    const found = JSON.stringify(keySet.jwks());
    if (text !== null && text !== found) onChange();
    if (text !== found || isAway)
      log.info({ host: url.host, keys: keySet.jwks()?.keys.length }, 'keys of tokens fetched');
    text = found;
    isAway = false;
  }

  /** One asking at a time, for all who wait. @throws KeysUnavailableError, also soon after a failure */
  async function refresh(): Promise<void> {
    if (underWay === null) {
      if (performance.now() - failedAt < cooldownMs) throw new KeysUnavailableError();
      underWay = fetchKeys().finally(() => {
        underWay = null;
      });
    }
    await underWay;
  }

  const areBelieved = (): boolean => performance.now() - hadAt <= staleMaxMs;

  /** Whether a key that signed it would be among those that were had. Nothing of the token is verified: who lies is told 401 or 503. */
  function isOlderThanKeys({ protected: header, payload, signature }: FlattenedJWSInput): boolean {
    const { iat } = decodeJwt(`${header}.${payload}.${signature}`);
    return typeof iat === 'number' && (iat + TOKEN_CLOCK_LEEWAY_S) * 1_000 < ofTime;
  }

  const timer = setInterval(() => void refresh().catch(() => {}), refreshMs).unref();
  void refresh().catch(() => {});

  return {
    // "Ed25519" is the newer name of what EdDSA is here.
    algorithms: ['RS256', 'ES256', 'EdDSA', 'Ed25519'],
    async keyOf(header, token) {
      if (!areBelieved()) await refresh();
      for (let asked = false; ; asked = true) {
        try {
          const key = await keySet(header, token);
          // The library refuses it only as it verifies, as a mistake of ours.
          if (isTooShort(key)) throw new TypeError(`an RSA key has ${bitsOf(key)} bits, and must have ${RSA_BITS_MIN}`);
          return key;
        } catch (error) {
          // A key that cannot be used at all. Whoever sends tokens that name it must not write a line with each.
          if (!(error instanceof errors.JOSEError)) {
            if (complainedOf !== text)
              log.warn({ host: url.host, err: (error as Error).message }, 'a key of tokens cannot be used');
            complainedOf = text;
            throw new KeysUnavailableError();
          }
          if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
          // The host was asked for it: there is no such key.
          if (asked) throw error;
          // It may be a key that was rotated in since, unless the token is older than that.
          if (performance.now() - hadAt < cooldownMs) throw isOlderThanKeys(token) ? error : new KeysUnavailableError();
          await refresh();
        }
      }
    },
    areBelieved,
    close: () => clearInterval(timer),
  };
}

/** Whether it is an RSA key that RFC 7518 forbids. */
export function isTooShort(key: webcrypto.CryptoKey): boolean {
  return bitsOf(key) < RSA_BITS_MIN;
}

/** @returns of a key that is not RSA infinity: its kind says how long it is */
function bitsOf({ algorithm }: webcrypto.CryptoKey): number {
  return (algorithm as Partial<webcrypto.RsaKeyAlgorithm>).modulusLength ?? Number.POSITIVE_INFINITY;
}

/** @throws where it is longer than any key set */
async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > KEY_SET_BYTES_MAX) throw new Error(`the key set is longer than ${KEY_SET_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
