/** The outer guard: requests a second from one address, on every route. Counted in each API process for itself. */
import rateLimit from '@fastify/rate-limit';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

export default fp<{ perSecond: number }>(
  async (app, { perSecond }) => {
    if (perSecond === 0) return;
    await app.register(rateLimit, {
      global: true,
      max: perSecond,
      timeWindow: 1_000,
      hook: 'onRequest',
      errorResponseBuilder: (_request, { ttl }) => new ProblemError('ADDRESS_RATE_LIMITED', { retry_after_ms: ttl }),
    });
  },
  { name: 'address-limit', dependencies: ['problems'] },
);
