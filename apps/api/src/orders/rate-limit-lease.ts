/**
 * Takes more permits from the global rate limiter than one turn needs, so that the next turns need
 * no round trip. Leased permits count in the window at once; they are used or returned within
 * LEASE_MS, by which the window is longer than a second.
 */
import type { GlobalRateLimiter, Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';

/** Milliseconds that leased permits are valid: a slot of the window (lua/take-permits.lua). */
export const LEASE_MS = 20;

/** Permits leased in advance per permit needed now. */
export const LEASE_FACTOR = 8;
/** Largest share of the limit in one lease: other processes lack it if this one becomes idle. */
const LEASE_SHARE_MAX = 1 / 50;

type Limiter = Pick<GlobalRateLimiter, 'take' | 'giveBack' | 'limit'>;

/** @param now ms of a monotonic clock */
export function createRateLimitLease(limiter: Limiter, now: () => number = () => performance.now()): Limiter {
  const { limit } = limiter;
  let lease: { readonly permits: Permits; left: number; readonly endsAt: number } | null = null;

  /** When permits were wanted last, ms. */
  let wantedAt = Number.NEGATIVE_INFINITY;

  const isValid = (): boolean => lease !== null && now() < lease.endsAt;

  /** Not awaited: permits that are not returned only lower the limit for a second. */
  function endLease(): void {
    if (lease && lease.left > 0) limiter.giveBack(lease.permits, lease.left).catch(() => {});
    lease = null;
  }

  /** @returns how many of the wanted permits the lease had */
  function takeFromLease(wanted: number): number {
    if (!lease || !isValid()) return 0;
    const taken = Math.min(lease.left, wanted);
    lease.left -= taken;
    return taken;
  }

  return {
    limit,

    async take(wanted) {
      if (limit === 0) return limiter.take(wanted);
      const askedAt = now();
      // A lease that the next turn comes too late for would only cost its return.
      const isBusy = askedAt - wantedAt < LEASE_MS;
      wantedAt = askedAt;
      const first = takeFromLease(wanted);
      if (lease && first === wanted)
        return { ...lease.permits, granted: wanted, remaining: lease.permits.remaining + lease.left };
      endLease();
      const needed = wanted - first;
      const ahead = isBusy ? Math.floor(Math.min(wanted * LEASE_FACTOR, limit * LEASE_SHARE_MAX)) : 0;
      const permits = await limiter.take(needed + ahead);
      if (permits.granted <= needed) {
        // A concurrent turn may have leased permits that this one lacks.
        const granted = first + permits.granted + takeFromLease(needed - permits.granted);
        return { ...permits, granted };
      }
      endLease();
      const mine = { permits, left: permits.granted - needed, endsAt: askedAt + LEASE_MS };
      lease = mine;
      setTimeout(() => lease === mine && endLease(), LEASE_MS).unref();
      return { ...permits, granted: wanted };
    },

    /** Returns permits to the lease while it is valid, otherwise to the window. */
    async giveBack(permits, unused) {
      if (lease && lease.permits.slot === permits.slot && isValid()) lease.left += unused;
      else await limiter.giveBack(permits, unused);
    },
  };
}
