/**
 * Identifies the buyer: the subject of a bearer token (AUTH=jwt), or X-User-ID, which a gateway
 * sets after authentication (AUTH=header). Only one of them is read.
 */
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';
import fp from 'fastify-plugin';
import type { ProblemCode } from '../plugins/problems.ts';
import { isBuyerId } from './buyer-id.ts';
import { credentialsOf } from './credentials.ts';
import type { TokenVerifier } from './verify-token.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by requireBuyer. */
    buyerId: string;
  }
  interface FastifyInstance {
    /** onRequest hook: 401 without a buyer. */
    requireBuyer: onRequestHookHandler;
  }
}

const refusals = {
  expired: 'TOKEN_EXPIRED',
  invalid: 'INVALID_TOKEN',
  keys_unavailable: 'IDENTITY_UNAVAILABLE',
} as const satisfies Record<string, ProblemCode>;

/** @param options.tokenVerifier null: X-User-ID is trusted */
export default fp<{ tokenVerifier: TokenVerifier | null }>(
  async (app, { tokenVerifier }) => {
    app.decorateRequest('buyerId', '');
    app.decorate('requireBuyer', tokenVerifier === null ? trustHeader : verifyBearer(tokenVerifier));
  },
  { name: 'buyer-identity', dependencies: ['problems'] },
);

function trustHeader(request: FastifyRequest, reply: FastifyReply, next: () => void): void {
  const id = request.headers['x-user-id'];
  if (id === undefined || id === '') return void reply.problem('BUYER_REQUIRED');
  if (!isBuyerId(id)) return void reply.problem('INVALID_BUYER');
  request.buyerId = id;
  next();
}

function verifyBearer(verifier: TokenVerifier) {
  return (request: FastifyRequest, reply: FastifyReply, next: (error?: Error) => void): void => {
    const [scheme, token] = credentialsOf(request.headers);
    if (scheme !== 'bearer' || token === '') return void reply.problem('BUYER_REQUIRED');
    // Synchronous: most tokens were verified before, and a promise costs more than the lookup.
    const known = verifier.recall(token);
    if (known !== null) {
      request.buyerId = known;
      next();
      return;
    }
    verifier.verify(token).then((outcome) => {
      if (outcome.kind !== 'buyer') return void reply.problem(refusals[outcome.kind]);
      request.buyerId = outcome.buyerId;
      next();
    }, next);
  };
}
