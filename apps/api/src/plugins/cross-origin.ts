/**
 * CORS: pages of the named origins may call the routes of buyers, and no others, whichever door these are at. Nothing that a browser sends
 * along by itself lets anybody in (a buyer is a header), so credentials are never allowed.
 *   Headers come before all that refuses, so that a page can read a refusal and when to come back.
 *   A preflight is answered behind all that refuses, by a route: it is shed, limited and counted like any other request.
 */
import cors from '@fastify/cors';
import { PREFLIGHT_MAX_AGE_S } from '@flash-sale/core/config/identity-limits.ts';
import fp from 'fastify-plugin';

/** As a browser sends them. What is spelled otherwise (%61pi) is given no header. */
const buyersPaths = ['/api/flash-sales', '/api/orders/'];

/** @param options.origins exactly as browsers send them; none: no header is sent */
export default fp<{ origins: string[]; buyerHeader: string }>(
  async (app, { origins, buyerHeader }) => {
    if (origins.length === 0) return;
    const forBuyers = {
      origin: origins,
      methods: ['GET', 'HEAD', 'POST'],
      allowedHeaders: [buyerHeader, 'content-type', 'idempotency-key', 'x-request-id', 'if-none-match', 'traceparent'],
      exposedHeaders: ['retry-after', 'ratelimit', 'ratelimit-policy', 'idempotency-replayed', 'etag'],
      credentials: false,
      maxAge: PREFLIGHT_MAX_AGE_S,
      preflightContinue: true,
      // Else an OPTIONS that is no preflight would be refused in plain text.
      strictPreflight: false,
    };
    // A preflight has one route for all paths, so that the path says it, not the route.
    await app.register(cors, {
      delegator: ({ raw }, decide) =>
        decide(null, buyersPaths.some((path) => raw.url?.startsWith(path)) ? forBuyers : { origin: false }),
    });
  },
  { name: 'cross-origin', dependencies: ['request-metrics'] },
);
