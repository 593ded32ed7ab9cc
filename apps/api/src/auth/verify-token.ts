/**
 * What a bearer token is worth (RFC 7519, RFC 8725): signed by a key that is ours to believe, not expired, from our issuer, for us, and
 * its subject a buyer's id. What was found good is remembered for some minutes, as long as the keys are the same and are believed.
 */
import { hash } from 'node:crypto';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import {
  KNOWN_TOKEN_MAX_MS,
  KNOWN_TOKENS_MAX,
  MAX_TOKEN_LENGTH,
  TOKEN_CLOCK_LEEWAY_S,
} from '@flash-sale/core/config/identity-limits.ts';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { isBuyerId } from './buyer-id.ts';
import { createTokenKeys, isTooShort, type KeySetTimes, KeysUnavailableError } from './token-keys.ts';

export type TokenOutcome =
  | { readonly word: 'buyer'; readonly buyerId: string }
  /** It was good once: whoever has it is to get a new one. */
  | { readonly word: 'expired' }
  | { readonly word: 'invalid' }
  /** Its key cannot be had now: it may be good. */
  | { readonly word: 'keys_unavailable' };

export interface TokenVerifier {
  /** @returns the buyer of a token that was found good minutes ago and has not expired; null: it is to be judged */
  recall(token: string): string | null;
  judge(token: string): Promise<TokenOutcome>;
  close(): void;
}

const INVALID: TokenOutcome = { word: 'invalid' };

/** @param options.times of the key set; for tests */
export function createTokenVerifier(
  identity: Extract<Identity, { kind: 'jwt' }>,
  options: { log: Logger; times?: Partial<KeySetTimes> },
): TokenVerifier {
  /** By a digest: the memory of this process holds nothing that lets somebody in. */
  const known = new LRUCache<string, { buyerId: string; expiresAt: number }>({ max: KNOWN_TOKENS_MAX });
  /** How often the keys have changed. A verification takes a while, and the keys may be others at its end. */
  let changes = 0;
  const keys = createTokenKeys(identity.keys, {
    ...options,
    onChange() {
      changes += 1;
      known.clear();
    },
  });
  const expected = {
    algorithms: keys.algorithms,
    issuer: identity.issuer,
    audience: identity.audience,
    clockTolerance: TOKEN_CLOCK_LEEWAY_S,
    requiredClaims: ['exp', 'sub'],
  };

  /** @throws what jwtVerify throws, KeysUnavailableError */
  async function verify(token: string): Promise<JWTPayload> {
    try {
      return (await jwtVerify(token, keys.keyOf, expected)).payload;
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // It does not say by which of them it was signed.
      for await (const key of error) {
        if (isTooShort(key)) continue;
        try {
          return (await jwtVerify(token, key, expected)).payload;
        } catch (fault) {
          if (!(fault instanceof errors.JWSSignatureVerificationFailed)) throw fault;
        }
      }
      throw error;
    }
  }

  /** By keys that are still the same at its end: one that was taken away meanwhile lets nobody in, and nothing of it is remembered. */
  async function verifyByOneState(token: string): Promise<JWTPayload> {
    for (;;) {
      const before = changes;
      const payload = await verify(token);
      if (changes === before) return payload;
    }
  }

  return {
    recall(token) {
      if (token.length > MAX_TOKEN_LENGTH || !keys.areBelieved()) return null;
      const found = known.get(digest(token));
      return found !== undefined && Date.now() < found.expiresAt ? found.buyerId : null;
    },

    async judge(token) {
      if (token.length > MAX_TOKEN_LENGTH) return INVALID;
      try {
        const payload = await verifyByOneState(token);
        const buyerId = buyerOf(payload);
        if (buyerId === null) return INVALID;
        const expiresAt = ((payload.exp as number) + TOKEN_CLOCK_LEEWAY_S) * 1_000;
        known.set(digest(token), { buyerId, expiresAt: Math.min(expiresAt, Date.now() + KNOWN_TOKEN_MAX_MS) });
        return { word: 'buyer', buyerId };
      } catch (error) {
        if (error instanceof KeysUnavailableError) return { word: 'keys_unavailable' };
        if (error instanceof errors.JWTExpired) return { word: 'expired' };
        if (error instanceof errors.JOSEError) return INVALID;
        throw error;
      }
    },

    close: () => keys.close(),
  };
}

function digest(token: string): string {
  return hash('sha256', token, 'base64url');
}

/** @returns null where the subject is no buyer's id, or the token comes from the future */
function buyerOf({ sub, iat }: JWTPayload): string | null {
  if (iat !== undefined && iat > Date.now() / 1_000 + TOKEN_CLOCK_LEEWAY_S) return null;
  return isBuyerId(sub) ? sub : null;
}
