/**
 * CORS: pages of the named origins may call the routes of buyers. Nothing that a browser sends along by itself lets anybody in (a buyer is
 * a header), so credentials are never allowed. Stands before all that refuses, so that a page can read a refusal and when to come back.
 */
import cors from '@fastify/cors';
import { PREFLIGHT_MAX_AGE_S } from '@flash-sale/core/identity-limits.ts';
import fp from 'fastify-plugin';

/** @param options.origins exactly as browsers send them; none: no header is sent */
export default fp<{ origins: string[]; buyerHeader: string }>(
  async (app, { origins, buyerHeader }) => {
    if (origins.length === 0) return;
    await app.register(cors, {
      origin: origins,
      methods: ['GET', 'HEAD', 'POST'],
      allowedHeaders: [buyerHeader, 'content-type', 'idempotency-key', 'x-request-id', 'if-none-match', 'traceparent'],
      exposedHeaders: ['retry-after', 'ratelimit', 'ratelimit-policy', 'idempotency-replayed', 'etag'],
      credentials: false,
      maxAge: PREFLIGHT_MAX_AGE_S,
      // Else an OPTIONS that is no preflight would be refused in plain text.
      strictPreflight: false,
    });
  },
  { name: 'cross-origin' },
);
