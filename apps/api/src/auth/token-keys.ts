/**
 * Keys that verify tokens: a secret, or a key set (JWKS) fetched from the issuer.
 *   The key set is fetched at the start and every minute in the background, so that no buyer waits.
 *   While its host is unavailable, the last keys are used for up to staleMaxMs.
 *   An unknown key id triggers a fetch (keys may have been rotated), at most once per cooldown.
 *   During the cooldown, a token that may be newer than the keys gets KeysUnavailableError.
 */
import { createSecretKey, type webcrypto } from 'node:crypto';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import { createRemoteJWKSet, customFetch, decodeJwt, errors, type FlattenedJWSInput, type JWTVerifyGetKey } from 'jose';
import type { Logger } from 'pino';

/** Seconds that the clocks of issuer and API may differ. With NTP they differ by less than one. */
export const TOKEN_CLOCK_LEEWAY_S = 5;
/** Bytes of a key set; a dozen keys are 10 kB. */
const KEY_SET_BYTES_MAX = 256 * 1024;
/** Bits of an RSA key (RFC 7518, 3.3). */
const RSA_BITS_MIN = 2_048;

/** Milliseconds; tests inject shorter ones. */
export interface KeySetTimes {
  /** Timeout of a fetch. Buyers wait for a fetch only until the first keys arrive. */
  readonly timeoutMs: number;
  /** Between two fetches: the longest time that a removed key is trusted. */
  readonly refreshMs: number;
  /**
   * Between two fetches after unknown key ids or failures, so that forged ids do not flood the
   * host.
   */
  readonly cooldownMs: number;
  /** How long keys are trusted without a successful fetch: covers an outage of the host. */
  readonly staleMaxMs: number;
}

const TIMES: KeySetTimes = {
  timeoutMs: 3_000,
  refreshMs: 60_000,
  cooldownMs: 5_000,
  staleMaxMs: 6 * 3_600_000,
};

/** The keys are unavailable, so the token cannot be verified. */
export class KeysUnavailableError extends Error {}

export interface TokenKeys {
  /** Symmetric or asymmetric, never both: a public key must not be used as a secret. */
  readonly algorithms: string[];
  /** @throws KeysUnavailableError, or a jose error if there is no such key */
  readonly keyOf: JWTVerifyGetKey;
  /** Whether the keys are recent enough to trust tokens that they verified. */
  areTrusted(): boolean;
  close(): void;
}

/**
 * @param options.onChange called when the key set changed: cached verifications are no longer valid
 */
export function createTokenKeys(
  keys: Extract<Identity, { kind: 'jwt' }>['keys'],
  options: { log: Logger; onChange: () => void; times?: Partial<KeySetTimes> },
): TokenKeys {
  if (keys.kind === 'jwks') return createKeySet(keys.url, options);
  const secret = createSecretKey(keys.secret, 'utf8');
  return { algorithms: ['HS256'], keyOf: async () => secret, areTrusted: () => true, close: () => {} };
}

function createKeySet(
  url: URL,
  { log, onChange, times }: { log: Logger; onChange: () => void; times?: Partial<KeySetTimes> },
): TokenKeys {
  const { timeoutMs, refreshMs, cooldownMs, staleMaxMs } = { ...TIMES, ...times };
  let text: string | null = null;
  /** The key set whose unusable key was logged. */
  let complainedOf: string | null = null;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  /** Wall-clock ms when the fetch of these keys began. */
  let askedAtMs = 0;
  let failedAt = Number.NEGATIVE_INFINITY;
  let isFailing = false;
  let fetching: Promise<void> | null = null;

  const keySet = createRemoteJWKSet(url, {
    timeoutDuration: timeoutMs,
    // Disabled: jose would fetch while buyers wait, even if the host is down. refresh() fetches
    // instead.
    cooldownDuration: Number.POSITIVE_INFINITY,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    [customFetch]: async (address, init) => {
      const response = await fetch(address, init);
      return new Response(await readBounded(response), { status: response.status });
    },
  });

  async function fetchKeys(): Promise<void> {
    const beganAtMs = Date.now();
    try {
      await keySet.reload();
    } catch (error) {
      const { message, cause } = error as Error;
      if (!isFailing)
        log.warn({ host: url.host, err: (cause as Error | undefined)?.message ?? message }, 'token keys not fetched');
      isFailing = true;
      failedAt = performance.now();
      throw new KeysUnavailableError();
    }
    fetchedAt = performance.now();
    askedAtMs = beganAtMs;
    const found = JSON.stringify(keySet.jwks());
    if (text !== null && text !== found) onChange();
    if (text !== found || isFailing)
      log.info({ host: url.host, keys: keySet.jwks()?.keys.length }, 'token keys fetched');
    text = found;
    isFailing = false;
  }

  /**
   * One fetch for all callers.
   *
   * @throws KeysUnavailableError, also within the cooldown of a failure
   */
  async function refresh(): Promise<void> {
    if (fetching === null) {
      if (performance.now() - failedAt < cooldownMs) throw new KeysUnavailableError();
      fetching = fetchKeys().finally(() => {
        fetching = null;
      });
    }
    await fetching;
  }

  const areTrusted = (): boolean => performance.now() - fetchedAt <= staleMaxMs;

  /**
   * Whether the keys were fetched after the token was issued. Its unverified `iat` only selects 401
   * or 503.
   */
  function isOlderThanKeys({ protected: header, payload, signature }: FlattenedJWSInput): boolean {
    const { iat } = decodeJwt(`${header}.${payload}.${signature}`);
    return typeof iat === 'number' && (iat + TOKEN_CLOCK_LEEWAY_S) * 1_000 < askedAtMs;
  }

  /** One log line per key set, not one per token that names the key. */
  function complain(error: Error): void {
    if (complainedOf !== text) log.warn({ host: url.host, err: error.message }, 'a token key cannot be used');
    complainedOf = text;
  }

  const timer = setInterval(() => void refresh().catch(() => {}), refreshMs).unref();
  void refresh().catch(() => {});

  return {
    // Ed25519 is the newer name of EdDSA.
    algorithms: ['RS256', 'ES256', 'EdDSA', 'Ed25519'],
    async keyOf(header, token) {
      if (!areTrusted()) await refresh();
      for (let refreshed = false; ; refreshed = true) {
        try {
          const key = await keySet(header, token);
          if (isTooShort(key)) throw new TypeError(`an RSA key has ${bitsOf(key)} bits, and must have ${RSA_BITS_MIN}`);
          return key;
        } catch (error) {
          if (!(error instanceof errors.JOSEError)) {
            complain(error as Error);
            throw new KeysUnavailableError();
          }
          if (!(error instanceof errors.JWKSNoMatchingKey) || refreshed) throw error;
          if (performance.now() - fetchedAt < cooldownMs)
            throw isOlderThanKeys(token) ? error : new KeysUnavailableError();
          await refresh();
        }
      }
    },
    areTrusted,
    close: () => clearInterval(timer),
  };
}

/** Whether it is an RSA key shorter than RFC 7518 allows. */
export function isTooShort(key: webcrypto.CryptoKey): boolean {
  return bitsOf(key) < RSA_BITS_MIN;
}

/** @returns Infinity for other keys than RSA, which have a fixed length */
function bitsOf({ algorithm }: webcrypto.CryptoKey): number {
  return (algorithm as Partial<webcrypto.RsaKeyAlgorithm>).modulusLength ?? Number.POSITIVE_INFINITY;
}

/** @throws if the body exceeds KEY_SET_BYTES_MAX */
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
