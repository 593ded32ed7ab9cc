/**
 * Keys that verify tokens: a secret, or a key set (JWKS) fetched from the issuer.
 *   The key set is fetched at the start and every minute in the background, so that no buyer waits.
 *   While its host is unavailable, the last keys are used for up to staleMaxMs.
 *   An unknown key id triggers a fetch (keys may have been rotated), at most once per cooldown.
 *   During the cooldown, a token that may be newer than the keys gets KeysUnavailableError.
 * jose's createRemoteJWKSet would fetch while buyers wait, even if the host is down.
 */
import { createSecretKey } from 'node:crypto';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import { createLocalJWKSet, decodeJwt, errors, type FlattenedJWSInput, type JWTVerifyGetKey } from 'jose';
import type { Logger } from 'pino';

/** Seconds that the clocks of issuer and API may differ. With NTP they differ by less than one. */
export const TOKEN_CLOCK_LEEWAY_S = 5;
/** Bytes of a key set; a dozen keys are 10 kB. */
const KEY_SET_BYTES_MAX = 256 * 1024;

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

/** An RSA key is too short (RFC 7518, 3.3), or a key cannot be imported. */
export class UnusableKeyError extends Error {}

/** @param error of jose, which throws those of Node and of WebCrypto if a key is unusable */
export function unusableKey(error: unknown): unknown {
  const isOfKey = error instanceof TypeError || error instanceof DOMException;
  return isOfKey ? new UnusableKeyError(error.message) : error;
}

export interface TokenKeys {
  /** Symmetric or asymmetric, never both: a public key must not be used as a secret. */
  readonly algorithms: string[];
  /** @throws KeysUnavailableError, UnusableKeyError, or a jose error if there is no such key */
  readonly keyOf: JWTVerifyGetKey;
  /** Names the present keys: it changes when they do. */
  version(): string;
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
  const never = { version: () => '', areTrusted: () => true, close: () => {} };
  return { algorithms: ['HS256'], keyOf: async () => secret, ...never };
}

/** A key set as it was fetched. */
interface Fetched {
  readonly text: string;
  /** How many. */
  readonly keys: number;
  readonly keyOf: JWTVerifyGetKey;
  /** Wall-clock ms when the fetch began. */
  readonly askedAtMs: number;
  /** Its end, by performance.now(). */
  readonly at: number;
}

function createKeySet(
  url: URL,
  { log, onChange, times }: { log: Logger; onChange: () => void; times?: Partial<KeySetTimes> },
): TokenKeys {
  const { timeoutMs, refreshMs, cooldownMs, staleMaxMs } = { ...TIMES, ...times };
  let fetched: Fetched | null = null;
  /** When the last fetch failed; null if it succeeded. */
  let failedAt: number | null = null;
  let fetching: Promise<Fetched> | null = null;

  async function fetchKeys(): Promise<Fetched> {
    const found = await fetchKeySet(url, timeoutMs).catch(({ message, cause }: Error) => {
      if (failedAt === null)
        log.warn({ host: url.host, err: (cause as Error | undefined)?.message ?? message }, 'token keys not fetched');
      failedAt = performance.now();
      throw new KeysUnavailableError();
    });
    const isNew = fetched?.text !== found.text;
    if (isNew && fetched !== null) onChange();
    if (isNew || failedAt !== null) log.info({ host: url.host, keys: found.keys }, 'token keys fetched');
    failedAt = null;
    fetched = found;
    return found;
  }

  /**
   * One fetch for all callers.
   *
   * @throws KeysUnavailableError, also within the cooldown of a failure
   */
  async function refresh(): Promise<Fetched> {
    if (fetching === null) {
      if (failedAt !== null && performance.now() - failedAt < cooldownMs) throw new KeysUnavailableError();
      fetching = fetchKeys().finally(() => {
        fetching = null;
      });
    }
    return fetching;
  }

  const isTrusted = (set: Fetched | null): set is Fetched => set !== null && performance.now() - set.at <= staleMaxMs;

  const timer = setInterval(() => void refresh().catch(() => {}), refreshMs).unref();
  void refresh().catch(() => {});

  return {
    // Ed25519 is the newer name of EdDSA.
    algorithms: ['RS256', 'ES256', 'EdDSA', 'Ed25519'],
    async keyOf(header, token) {
      const set = isTrusted(fetched) ? fetched : await refresh();
      try {
        return await set.keyOf(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        if (performance.now() - set.at < cooldownMs) throw isOlder(token, set) ? error : new KeysUnavailableError();
        return (await refresh()).keyOf(header, token);
      }
    },
    version: () => fetched?.text ?? '',
    areTrusted: () => isTrusted(fetched),
    close: () => clearInterval(timer),
  };
}

/**
 * Whether the token was issued before the keys were fetched. Its unverified `iat` only selects 401
 * or 503.
 */
function isOlder({ protected: header, payload, signature }: FlattenedJWSInput, { askedAtMs }: Fetched): boolean {
  const { iat } = decodeJwt(`${header}.${payload}.${signature}`);
  return typeof iat === 'number' && (iat + TOKEN_CLOCK_LEEWAY_S) * 1_000 < askedAtMs;
}

/** @throws if the host does not answer 200 in time, with a key set of at most KEY_SET_BYTES_MAX */
async function fetchKeySet(url: URL, timeoutMs: number): Promise<Fetched> {
  // biome-ignore lint/plugin/wall-time: compared with the claim iat
  const askedAtMs = Date.now();
  const response = await fetch(url, {
    headers: { accept: 'application/json, application/jwk-set+json' },
    redirect: 'error',
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) throw new Error(`the answer has the status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > KEY_SET_BYTES_MAX) throw new Error(`the key set is longer than ${KEY_SET_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  const keySet = createLocalJWKSet(JSON.parse(text));
  const keyOf: JWTVerifyGetKey = (header, token) =>
    keySet(header, token).catch((error: unknown) => {
      throw unusableKey(error);
    });
  return { text, keys: keySet.jwks().keys.length, keyOf, askedAtMs, at: performance.now() };
}
