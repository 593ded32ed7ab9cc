/**
 * Takes more permits from the global rate limiter than one turn needs, so that the next turns need
 * no round trip. Leased permits count in the window at once. A lease ends after
 * RATE_LIMIT_LEASE_MS, and unused permits are returned, so that at most one lease of each process
 * passes later than it counts.
 */
import type { GlobalRateLimiter, Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';

/**
 * Milliseconds that leased permits are valid, and that a process without permits refuses orders
 * without a call to Redis.
 */
export const RATE_LIMIT_LEASE_MS = 50;

/** Permits leased in advance per permit needed now: about eight turns share a round trip. */
export const LEASE_FACTOR = 8;
/** Largest share of the limit in one lease: other processes lack it if this one becomes idle. */
const LEASE_SHARE_MAX = 1 / 100;

type Limiter = Pick<GlobalRateLimiter, 'take' | 'giveBack' | 'limit'>;

/** @param now ms of a monotonic clock */
export function createRateLimitLease(limiter: Limiter, now: () => number = () => performance.now()): Limiter {
  const { limit } = limiter;
  let lease: { readonly permits: Permits; left: number; readonly endsAt: number } | null = null;

  /** Not awaited: permits that are not returned only lower the limit for a second. */
  function endLease(): void {
    if (lease && lease.left > 0) limiter.giveBack(lease.permits, lease.left).catch(() => {});
    lease = null;
  }

  async function takeAhead(wanted: number): Promise<Permits> {
    const ahead = Math.floor(Math.min(wanted * LEASE_FACTOR, limit * LEASE_SHARE_MAX));
    const askedAt = now();
    const permits = await limiter.take(wanted + ahead);
    if (permits.granted <= wanted) return withRestOfLease(permits, wanted);
    endLease();
    const mine = { permits, left: permits.granted - wanted, endsAt: askedAt + RATE_LIMIT_LEASE_MS };
    lease = mine;
    setTimeout(() => lease === mine && endLease(), RATE_LIMIT_LEASE_MS).unref();
    return { ...permits, granted: wanted };
  }

  /** A concurrent turn may have leased permits that this one lacks. */
  function withRestOfLease(permits: Permits, wanted: number): Permits {
    if (!lease || now() >= lease.endsAt) return permits;
    const more = Math.min(lease.left, wanted - permits.granted);
    lease.left -= more;
    return { ...permits, granted: permits.granted + more };
  }

  return {
    limit,

    async take(wanted) {
      if (limit === 0) return limiter.take(wanted);
      if (lease && lease.left >= wanted && now() < lease.endsAt) {
        lease.left -= wanted;
        const { permits, left } = lease;
        return { ...permits, granted: wanted, remaining: permits.remaining + left };
      }
      endLease();
      return takeAhead(wanted);
    },

    /** Returns permits to the lease while it is valid, otherwise to the window. */
    async giveBack(permits, unused) {
      if (lease && lease.permits.slot === permits.slot && now() < lease.endsAt) lease.left += unused;
      else await limiter.giveBack(permits, unused);
    },
  };
}
