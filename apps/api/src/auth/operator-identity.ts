/**
 * Authenticates operators by ADMIN_TOKEN; for the queue board also as the password of HTTP Basic.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { credentialsOf } from './credentials.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Name and address, stored with each action. Set by requireOperator. */
    operator: string;
  }
  interface FastifyInstance {
    /** onRequest hook: 401 without the operator's token. */
    requireOperator(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>;
    /** The same; also accepts the token as the password of HTTP Basic. */
    requireOperatorOrLogin(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>;
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

export default fp<{ token: string }>(
  async (app, { token }) => {
    const expected = digest(token);
    const limitGuesses = app.createAddressLimit();
    // Digests have equal length, so the comparison takes constant time.
    const isToken = (text: string): boolean => timingSafeEqual(digest(text), expected);

    const requireToken = (acceptsLogin: boolean) => async (request: FastifyRequest, reply: FastifyReply) => {
      const [scheme, secret] = credentialsOf(request.headers);
      const login = acceptsLogin && scheme === 'basic' ? Buffer.from(secret, 'base64').toString() : `:${secret}`;
      const colon = login.indexOf(':');
      const isAccepted = scheme === 'bearer' || (acceptsLogin && scheme === 'basic' && colon >= 0);
      if (!isAccepted || !isToken(login.slice(colon + 1))) {
        // Only now: others at this address must not lock the operator out.
        await limitGuesses(request);
        return reply.problem('OPERATOR_REQUIRED');
      }
      request.operator = `${login.slice(0, colon) || 'admin'} from ${address(request)}`;
      return undefined;
    };

    app.decorateRequest('operator', '');
    app.decorate('requireOperator', requireToken(false));
    app.decorate('requireOperatorOrLogin', requireToken(true));
  },
  { name: 'operator-identity', dependencies: ['problems', 'address-limit'] },
);

/**
 * Behind a trusted proxy the address may be any text from the client: record it only if it is
 * valid.
 */
function address(request: FastifyRequest): string {
  return isIP(request.ip) ? request.ip : 'an unknown address';
}
