/** Requests a second per address, on every route. Each API process counts for itself. */
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
    // A hook of the whole app runs before authentication, so that tokens cannot be guessed at full speed, and for unknown
    // paths. The plugin's global mode runs after the hooks of the routes' plugins.
    const limit = app.rateLimit();
    app.addHook('onRequest', async (request, reply) => {
      try {
        await limit.call(app, request, reply);
      } catch (error) {
        if (error instanceof ProblemError) return reply.problem(error.code, error.fields);
        throw error;
      }
      return undefined;
    });
  },
  { name: 'address-limit', dependencies: ['problems'] },
);
