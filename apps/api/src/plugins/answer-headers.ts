/**
 * What every answer carries. No cache may keep one unless its route says otherwise: an order is its buyer's, health and refusals are of
 * the moment, and without a word CDNs keep a 404 for minutes. And no browser may take it for something else than it says.
 */
import fp from 'fastify-plugin';

export default fp(
  async (app) => {
    app.addHook('onRequest', (_request, reply, next) => {
      reply.header('cache-control', 'private, no-store');
      reply.header('x-content-type-options', 'nosniff');
      next();
    });
  },
  { name: 'answer-headers' },
);
