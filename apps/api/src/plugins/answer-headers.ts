/**
 * Headers of every answer. Nothing is cached unless its route says otherwise: orders belong to a buyer,
 * health and refusals to the moment, and CDNs keep a 404 for minutes by default.
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
