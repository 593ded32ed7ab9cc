/**
 * RateLimit-Policy and RateLimit (IETF draft "RateLimit header fields for HTTP"): one policy per
 * limit.
 */
import type { Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/inventory/inventory.ts';
import type { FastifyReply } from 'fastify';

export interface SeenLimits {
  /** Whole tokens left in the buyer's bucket; -1 if the bucket was not read. */
  readonly tokensLeft: number;
  /** Milliseconds until the buyer's next token; 0 if a token is left. */
  readonly tokenInMs: number;
  readonly permits: Permits | null;
}

/** @param systemLimit orders a second; 0 = no limit */
export function createRateLimitHeaders(bucket: BuyerBucketSettings, systemLimit: number) {
  const { capacity, refillRate } = bucket;
  const buyerPolicy = `"buyer";q=${capacity};w=${Math.ceil(capacity / refillRate)}`;
  const systemPolicy = `"system";q=${systemLimit};w=1`;
  const bothPolicies = `${buyerPolicy}, ${systemPolicy}`;

  function buyerState({ tokensLeft, tokenInMs }: SeenLimits): string | null {
    if (capacity === 0 || tokensLeft < 0) return null;
    const resetS = tokenInMs > 0 ? tokenInMs / 1_000 : (capacity - tokensLeft) / refillRate;
    return `"buyer";r=${tokensLeft};t=${Math.ceil(resetS)}`;
  }

  return function setRateLimitHeaders(reply: FastifyReply, seen: SeenLimits): void {
    const buyer = buyerState(seen);
    const system = systemLimit > 0 && seen.permits !== null ? `"system";r=${seen.permits.remaining};t=1` : null;
    if (buyer === null && system === null) return;
    const both = buyer !== null && system !== null;
    reply.header('ratelimit-policy', both ? bothPolicies : buyer === null ? systemPolicy : buyerPolicy);
    reply.header('ratelimit', both ? `${buyer}, ${system}` : (buyer ?? system));
  };
}
