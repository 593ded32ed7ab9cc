/**
 * No cache may keep an answer unless its route says otherwise: an order is its buyer's, health and refusals are of the moment. Without
 * a word CDNs keep a 404 for minutes.
 */
import fp from 'fastify-plugin';

export default fp(
  async (app) => {
    app.addHook('onRequest', (_request, reply, next) => {
      reply.header('cache-control', 'private, no-store');
      next();
    });
  },
  { name: 'no-store' },
);
