/**
 * CORS: pages of the given origins may call the buyers' routes, and no others. Credentials are
 * never allowed: buyers are identified by a header that browsers do not send automatically.
 *   Registered before plugins that refuse, so that a page can read a refusal and Retry-After.
 *   Preflights are answered by a route, so they are shed, limited and counted like other requests.
 */
import cors from '@fastify/cors';
import fp from 'fastify-plugin';

/** Seconds that a browser may cache a preflight: Chromium's maximum. */
const PREFLIGHT_MAX_AGE_S = 7_200;
/** Besides those that every page may read (content-type, cache-control and the like). */
const EXPOSED = [
  'retry-after',
  'ratelimit',
  'ratelimit-policy',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
  'idempotency-replayed',
  'etag',
  'age',
  'date',
  'allow',
  'www-authenticate',
];
/** Prefixes of the raw URL; percent-encoded variants (%61pi) get no CORS headers. */
const BUYERS_PATHS = ['/api/flash-sales', '/api/orders/'];

/** @param options.origins as browsers send them; none: CORS is off */
export default fp<{ origins: string[]; buyerHeader: string }>(
  async (app, { origins, buyerHeader }) => {
    if (origins.length === 0) return;
    const forBuyers = {
      origin: origins,
      methods: ['GET', 'HEAD', 'POST'],
      allowedHeaders: [buyerHeader, 'content-type', 'idempotency-key', 'x-request-id', 'if-none-match', 'traceparent'],
      exposedHeaders: EXPOSED,
      credentials: false,
      maxAge: PREFLIGHT_MAX_AGE_S,
      preflightContinue: true,
      // true would answer an OPTIONS that is no preflight with plain text.
      strictPreflight: false,
    };
    // One route answers all preflights, so the options depend on the path.
    await app.register(cors, {
      delegator: ({ raw }, decide) =>
        decide(null, BUYERS_PATHS.some((path) => raw.url?.startsWith(path)) ? forBuyers : { origin: false }),
    });
  },
  { name: 'cross-origin', dependencies: ['request-metrics'] },
);
