/**
 * The global rate limiter, asked for more permits than one turn needs, so that the next turns need not ask at all. What was leased counts in
 * the window from the start, so that the limit is never passed; it is used within RATE_LIMIT_LEASE_MS and within the second that it counts in,
 * or goes back.
 */
import { PERMITS_AHEAD, PERMITS_AHEAD_PART, RATE_LIMIT_LEASE_MS } from '@flash-sale/core/config/limits.ts';
import type { GlobalRateLimiter, Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';

type Window = Pick<GlobalRateLimiter, 'take' | 'giveBack' | 'limit'>;

/** @param now ms of a clock that only goes forward */
export function createRateLimitLease(window: Window, now: () => number = () => performance.now()): Window {
  const { limit } = window;
  let lease: { readonly permits: Permits; left: number; readonly endsAt: number } | null = null;

  /** Nobody waits for it: lost permits are missing for the rest of their second. */
  function endLease(): void {
    if (lease && lease.left > 0) window.giveBack(lease.permits, lease.left).catch(() => {});
    lease = null;
  }

  async function takeAhead(wanted: number): Promise<Permits> {
    const ahead = Math.floor(Math.min(wanted * PERMITS_AHEAD, limit * PERMITS_AHEAD_PART));
    const askedAt = now();
    const permits = await window.take(wanted + ahead);
    if (permits.granted <= wanted) return withRestOfLease(permits, wanted);
    endLease();
    const forMs = Math.min(RATE_LIMIT_LEASE_MS, permits.secondLeftMs);
    const mine = { permits, left: permits.granted - wanted, endsAt: askedAt + forMs };
    lease = mine;
    // What a process that falls idle does not use is there for the others.
    setTimeout(() => lease === mine && endLease(), forMs).unref();
    return { ...permits, granted: wanted };
  }

  /** Another turn, that asked at the same time, may have got more than it needed. */
  function withRestOfLease(permits: Permits, wanted: number): Permits {
    if (!lease || lease.permits.second !== permits.second || now() >= lease.endsAt) return permits;
    const more = Math.min(lease.left, wanted - permits.granted);
    lease.left -= more;
    return { ...permits, granted: permits.granted + more };
  }

  return {
    limit,

    /** At once, as long as the lease lasts. */
    take(wanted) {
      if (limit === 0) return window.take(wanted);
      if (lease && lease.left >= wanted && now() < lease.endsAt) {
        lease.left -= wanted;
        const { permits, left } = lease;
        return Promise.resolve({ ...permits, granted: wanted, remaining: permits.remaining + left });
      }
      endLease();
      return takeAhead(wanted);
    },

    /** To the lease while it lasts, else to the window. */
    async giveBack(permits, unused) {
      if (lease && lease.permits.second === permits.second && now() < lease.endsAt) lease.left += unused;
      else await window.giveBack(permits, unused);
    },
  };
}
