/**
 * Verifies bearer tokens (RFC 7519, RFC 8725): signature, expiry, issuer, audience, and a subject
 * that is a valid buyer id. Verified tokens are cached for some minutes, until the keys change.
 */
import { hash } from 'node:crypto';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { isBuyerId } from './buyer-id.ts';
import {
  createTokenKeys,
  type KeySetTimes,
  KeysUnavailableError,
  TOKEN_CLOCK_LEEWAY_S,
  UnusableKeyError,
  unusableKey,
} from './token-keys.ts';

/**
 * Characters of a token: half of HEADER_LIMIT_BYTES. Tokens of large directories have about 4,000.
 */
const MAX_TOKEN_LENGTH = 8_192;
/**
 * Cached tokens, 250 bytes each. A verification takes 40 to 130 µs of CPU, a cached one 1 µs; an
 * order takes about 55 µs.
 */
const KNOWN_TOKENS_MAX = 50_000;
/** Milliseconds that a verified token is cached at most, even if it expires later. */
export const KNOWN_TOKEN_MAX_MS = 5 * 60_000;

type TokenOutcome =
  | { readonly kind: 'buyer'; readonly buyerId: string }
  | { readonly kind: 'expired' }
  | { readonly kind: 'invalid' }
  /** Its key is unavailable, so it may be valid. */
  | { readonly kind: 'keys_unavailable' };

export interface TokenVerifier {
  /**
   * @returns the buyer of a token that was verified before and has not expired; null: call verify
   */
  recall(token: string): string | null;
  verify(token: string): Promise<TokenOutcome>;
  close(): void;
}

const INVALID: TokenOutcome = { kind: 'invalid' };

/** @param options.times of the key set; for tests */
export function createTokenVerifier(
  identity: Extract<Identity, { kind: 'jwt' }>,
  options: { log: Logger; times?: Partial<KeySetTimes> },
): TokenVerifier {
  /** By digest, so that a memory dump contains no usable token. */
  const known = new LRUCache<string, { buyerId: string; expiresAt: number }>({
    max: KNOWN_TOKENS_MAX,
    ttl: KNOWN_TOKEN_MAX_MS,
  });
  const keys = createTokenKeys(identity.keys, { ...options, onChange: () => known.clear() });
  /** The key set whose unusable key was logged. */
  let loggedOf: string | null = null;
  const expected = {
    algorithms: keys.algorithms,
    issuer: identity.issuer,
    audience: identity.audience,
    clockTolerance: TOKEN_CLOCK_LEEWAY_S,
    requiredClaims: ['exp', 'sub'],
  };

  /** @throws a JOSEError, KeysUnavailableError, UnusableKeyError */
  async function verifyWith(token: string, keyOf: JWTVerifyGetKey): Promise<JWTPayload> {
    let isKeyFound = false;
    const find: JWTVerifyGetKey = async (header, input) => {
      const key = await keyOf(header, input);
      isKeyFound = true;
      return key;
    };
    try {
      return (await jwtVerify(token, find, expected)).payload;
    } catch (error) {
      // An error of keyOf itself would be a bug of ours.
      throw isKeyFound ? unusableKey(error) : error;
    }
  }

  async function verifyWithAnyKey(token: string): Promise<JWTPayload> {
    try {
      return await verifyWith(token, keys.keyOf);
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // The token has no key id: try each matching key.
      for await (const key of error) {
        try {
          return await verifyWith(token, async () => key);
        } catch (fault) {
          if (!(fault instanceof errors.JWSSignatureVerificationFailed || fault instanceof UnusableKeyError))
            throw fault;
        }
      }
      throw error;
    }
  }

  /** Repeats if the keys changed meanwhile, so that a removed key verifies nothing. */
  async function verifyWithSameKeys(token: string): Promise<JWTPayload> {
    for (;;) {
      const before = keys.version();
      const payload = await verifyWithAnyKey(token);
      if (keys.version() === before) return payload;
    }
  }

  /** One log line per key set, not one per token that names the key. */
  function logUnusableKey({ message }: Error): void {
    if (loggedOf !== keys.version()) options.log.warn({ err: message }, 'a token key cannot be used');
    loggedOf = keys.version();
  }

  return {
    recall(token) {
      if (token.length > MAX_TOKEN_LENGTH || !keys.areTrusted()) return null;
      const found = known.get(digest(token));
      // biome-ignore lint/plugin/wall-time: a claim is a date
      return found !== undefined && Date.now() < found.expiresAt ? found.buyerId : null;
    },

    async verify(token) {
      if (token.length > MAX_TOKEN_LENGTH) return INVALID;
      let payload: JWTPayload;
      try {
        payload = await verifyWithSameKeys(token);
      } catch (error) {
        if (error instanceof errors.JWTExpired) return { kind: 'expired' };
        if (error instanceof errors.JOSEError) return INVALID;
        if (error instanceof UnusableKeyError) logUnusableKey(error);
        else if (!(error instanceof KeysUnavailableError)) throw error;
        return { kind: 'keys_unavailable' };
      }
      const buyerId = buyerOf(payload);
      if (buyerId === null) return INVALID;
      const expiresAt = ((payload.exp as number) + TOKEN_CLOCK_LEEWAY_S) * 1_000;
      known.set(digest(token), { buyerId, expiresAt });
      return { kind: 'buyer', buyerId };
    },

    close: () => keys.close(),
  };
}

function digest(token: string): string {
  return hash('sha256', token, 'base64url');
}

/** @returns null if the subject is no valid buyer id, or the token was issued in the future */
function buyerOf({ sub, iat }: JWTPayload): string | null {
  // biome-ignore lint/plugin/wall-time: a claim is a date
  if (iat !== undefined && iat > Date.now() / 1_000 + TOKEN_CLOCK_LEEWAY_S) return null;
  return isBuyerId(sub) ? sub : null;
}
