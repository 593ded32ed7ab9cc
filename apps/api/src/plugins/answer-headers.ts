/**
 * Headers of every response. Responses are not cacheable unless the route overrides this: orders
 * are private, health and refusals change at any time, and CDNs cache a 404 for minutes by default.
 */
import fp from 'fastify-plugin';

export const ANSWER_HEADERS = {
  'cache-control': 'private, no-store',
  'x-content-type-options': 'nosniff',
} as const;

export default fp(
  async (app) => {
    app.addHook('onRequest', (_request, reply, next) => {
      reply.header('cache-control', ANSWER_HEADERS['cache-control']);
      reply.header('x-content-type-options', ANSWER_HEADERS['x-content-type-options']);
      next();
    });
  },
  { name: 'answer-headers' },
);
