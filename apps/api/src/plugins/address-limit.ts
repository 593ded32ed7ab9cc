/**
 * Limits requests per second and address: operators' wrong tokens and pages always, every route by
 * a setting, because many buyers may share an address. Each API process counts separately.
 */
import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

type Counted = (error: null, counted: { current: number; ttl: number }) => void;

/** Never limited: all probes come from one address. */
const HEALTH_ROUTES = new Set(['/health', '/health/live', '/health/ready']);

/**
 * When requests passed, by address: no time window of that length has more than the limit. The
 * plugin's own store starts a window with the first request, so that twice the limit passes around
 * its end; and it goes by the wall clock.
 */
class PassedRequests implements FastifyRateLimitStore {
  /** Milliseconds of performance.now(); the address that passed last is the last one. */
  readonly #times = new Map<string, number[]>();

  incr(address: string, done: Counted, windowMs: number, max: number): void {
    const now = performance.now();
    const isOver = (time: number | undefined): boolean => time !== undefined && time <= now - windowMs;
    for (const [other, times] of this.#times) {
      if (!isOver(times.at(-1))) break;
      this.#times.delete(other);
    }
    const times = this.#times.get(address) ?? [];
    while (isOver(times[0])) times.shift();
    const current = times.length + 1;
    // A refused request does not count: those who go on asking get the limit.
    if (current <= max) {
      times.push(now);
      this.#times.delete(address);
      this.#times.set(address, times);
    }
    done(null, { current, ttl: Math.ceil((times[0] ?? now) + windowMs - now) });
  }

  child(): PassedRequests {
    return new PassedRequests();
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
      store: PassedRequests,
      allowList: ({ routeOptions }) => HEALTH_ROUTES.has(routeOptions.url ?? ''),
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
