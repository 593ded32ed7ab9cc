/** The outer guard: requests a second from one address, on every route. Counted in each API process for itself. */
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
    // As a hook of the whole app it runs before any check of identity, so that tokens cannot be guessed at full speed, and for
    // paths that do not exist. The plugin's own global mode would run behind the hooks of the routes' plugins.
    const limit = app.rateLimit();
    app.addHook('onRequest', async (request, reply) => {
      try {
        await limit.call(app, request, reply);
      } catch (error) {
        // Answered here, because the queue board has an error handler of its own.
        if (error instanceof ProblemError) return reply.problem(error.code, error.fields);
        throw error;
      }
      return undefined;
    });
  },
  { name: 'address-limit', dependencies: ['problems'] },
);
