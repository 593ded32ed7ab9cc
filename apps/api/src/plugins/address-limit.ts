/** Limits requests per second and address, on every route. Each API process counts separately. */
import rateLimit from '@fastify/rate-limit';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

export default fp<{ perSecond: number }>(
  async (app, { perSecond }) => {
    if (perSecond === 0) return;
    await app.register(rateLimit, {
      global: false,
      max: perSecond,
      timeWindow: 1_000,
      errorResponseBuilder: (_request, { ttl }) => new ProblemError('ADDRESS_RATE_LIMITED', { retry_after_ms: ttl }),
    });
    // An app-level hook also covers unknown paths and runs before authentication, which slows down
    // token guessing. The plugin's global mode would run after authentication.
    app.addHook('onRequest', app.rateLimit());
  },
  { name: 'address-limit', dependencies: ['problems'] },
);
