/** Limits requests per second and address, on every route. Each API process counts separately. */
import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import fp from 'fastify-plugin';
import { LRUCache } from 'lru-cache';
import { ProblemError } from './problems.ts';

/** Addresses that are counted at a time, as in the plugin. */
const ADDRESSES_MAX = 5_000;

/**
 * Requests by address, each for one time window. The plugin's own store goes by the wall clock:
 * set back, it locks an address out until the old time comes again.
 */
class AddressCounts implements FastifyRateLimitStore {
  readonly #counts = new LRUCache<string, number>({ max: ADDRESSES_MAX, ttl: 1, ttlResolution: 0, noUpdateTTL: true });

  incr(address: string, done: (error: null, counted: { current: number; ttl: number }) => void, windowMs: number) {
    const current = (this.#counts.get(address) ?? 0) + 1;
    this.#counts.set(address, current, { ttl: windowMs });
    done(null, { current, ttl: Math.ceil(this.#counts.getRemainingTTL(address)) });
  }

  child(): AddressCounts {
    return new AddressCounts();
  }
}

export default fp<{ perSecond: number }>(
  async (app, { perSecond }) => {
    if (perSecond === 0) return;
    await app.register(rateLimit, {
      global: false,
      max: perSecond,
      timeWindow: 1_000,
      store: AddressCounts,
      errorResponseBuilder: (_request, { ttl }) => new ProblemError('ADDRESS_RATE_LIMITED', { retry_after_ms: ttl }),
    });
    // An app-level hook also covers unknown paths and runs before authentication, which slows down
    // token guessing. The plugin's global mode would run after authentication.
    app.addHook('onRequest', app.rateLimit());
  },
  { name: 'address-limit', dependencies: ['problems'] },
);
