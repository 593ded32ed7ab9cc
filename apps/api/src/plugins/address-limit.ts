/**
 * Limits requests per second and address: operators' wrong tokens and pages always, every route by
 * a setting, because many buyers may share an address. Each API process counts separately.
 */
import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest } from 'fastify';
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

/** Of tokens, which may be guessed, and of pages, which are heavy. */
export const ADDRESS_PER_SECOND = 200;

declare module 'fastify' {
  interface FastifyInstance {
    /** @returns an onRequest hook that refuses above ADDRESS_PER_SECOND; each counts separately */
    createAddressLimit(): (request: FastifyRequest) => Promise<void>;
  }
}

/** @param options.perSecond on every route; 0 = no limit */
export default fp<{ perSecond: number }>(
  async (app, { perSecond }) => {
    await app.register(rateLimit, {
      global: false,
      max: perSecond,
      timeWindow: 1_000,
      store: AddressCounts,
      errorResponseBuilder: (_request, { ttl }) => new ProblemError('ADDRESS_RATE_LIMITED', { retry_after_ms: ttl }),
    });
    // An app-level hook also covers unknown paths, and runs before authentication.
    if (perSecond > 0) app.addHook('onRequest', app.rateLimit());
    app.decorate('createAddressLimit', () => {
      const count = app.createRateLimit({ max: ADDRESS_PER_SECOND });
      return async (request: FastifyRequest) => {
        const counted = await count(request);
        if (counted.isAllowed || !counted.isExceeded) return;
        throw new ProblemError('ADDRESS_RATE_LIMITED', { retry_after_ms: counted.ttl });
      };
    });
  },
  { name: 'address-limit', dependencies: ['problems'] },
);

/** An IPv4 address or an IPv6 address in brackets, as proxies write them. */
const WITH_PORT = /"?(?:\[([^\][]{1,64})\]|(\d{1,3}(?:\.\d{1,3}){3}))(?::\d{1,5})?"?/g;

/** onRequest hook: a port in X-Forwarded-For is new with each connection, so it is removed. */
export function removePorts({ raw }: FastifyRequest, _reply: FastifyReply, next: () => void): void {
  const forwarded = raw.headers['x-forwarded-for'];
  if (typeof forwarded === 'string') raw.headers['x-forwarded-for'] = forwarded.replaceAll(WITH_PORT, '$1$2');
  next();
}
