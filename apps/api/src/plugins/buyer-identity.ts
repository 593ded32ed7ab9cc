/** Who is buying. X-User-ID is believed as it stands: a gateway that verifies buyers sets it, as in the source document. */
import { MAX_BUYER_ID_LENGTH } from '@flash-sale/core/limits.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by requireBuyer. */
    buyerId: string;
  }
  interface FastifyInstance {
    /** onRequest hook: 401 without a buyer. */
    requireBuyer(request: FastifyRequest, reply: FastifyReply, next: () => void): void;
  }
}

const buyerPattern = new RegExp(`^[\\x21-\\x7e]{1,${MAX_BUYER_ID_LENGTH}}$`);

export default fp(
  async (app) => {
    app.decorateRequest('buyerId', '');
    app.decorate('requireBuyer', (request: FastifyRequest, reply: FastifyReply, next: () => void) => {
      const id = request.headers['x-user-id'];
      if (id === undefined || id === '') return void reply.problem('BUYER_REQUIRED');
      if (typeof id !== 'string' || !buyerPattern.test(id)) return void reply.problem('INVALID_BUYER');
      request.buyerId = id;
      next();
    });
  },
  { name: 'buyer-identity', dependencies: ['problems'] },
);
