/**
 * What every answer carries. No cache may keep one unless its route says otherwise: an order is its buyer's, health and refusals are of
 * the moment, and without a word CDNs keep a 404 for minutes. And no browser may take it for something else than it says.
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
