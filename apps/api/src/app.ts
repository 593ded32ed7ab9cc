/**
 * Composes the API, plugins and routes in the order in which a request passes them. It opens no
 * connection or port.
 */
import type { Server } from 'node:http';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { originsOf } from '@flash-sale/core/config/environment.ts';
import type { Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import fastify, { type FastifyBaseLogger, type FastifyHttpOptions, LogController } from 'fastify';
import fp from 'fastify-plugin';
import type { Logger } from 'pino';
import { adminRoutes } from './admin/admin-routes.ts';
import { createManageSales } from './admin/manage-sales.ts';
import buyerIdentity from './auth/buyer-identity.ts';
import operatorIdentity from './auth/operator-identity.ts';
import type { Connections } from './connect.ts';
import { healthRoutes } from './health/health-routes.ts';
import { observeAdd, observeReserve } from './observe.ts';
import { createEnqueueOrders } from './orders/enqueue-orders.ts';
import { orderRoutes } from './orders/order-routes.ts';
import { createPlaceOrder } from './orders/place-order.ts';
import { createRateLimitLease } from './orders/rate-limit-lease.ts';
import { createReadOrder } from './orders/read-order.ts';
import { createRefusalCache } from './orders/refusal-cache.ts';
import { createReplayStatus } from './orders/replay-status.ts';
import { createReserveBatcher } from './orders/reserve-batcher.ts';
import apiReference from './pages/api-reference.ts';
import { queueBoard } from './pages/queue-board.ts';
import addressLimit, { removePorts } from './plugins/address-limit.ts';
import answerHeaders from './plugins/answer-headers.ts';
import connectionBounds from './plugins/connection-bounds.ts';
import { sendConnectionError } from './plugins/connection-errors.ts';
import crossOrigin from './plugins/cross-origin.ts';
import drain from './plugins/drain.ts';
import jsonBody, { BODY_LIMIT_BYTES } from './plugins/json-body.ts';
import notFound from './plugins/not-found.ts';
import overload from './plugins/overload.ts';
import problems, { sendFrameworkError } from './plugins/problems.ts';
import refusalCount from './plugins/refusal-count.ts';
import requestMetrics from './plugins/request-metrics.ts';
import requestTrace from './plugins/request-trace.ts';
import { requestIdOf } from './request-ids.ts';
import { createSaleReader } from './sales/read-sales.ts';
import { saleRoutes } from './sales/sale-routes.ts';

/** Bytes of request line and headers: room for a gateway's token and a browser's cookies. */
const HEADER_LIMIT_BYTES = 16 * 1024;

/**
 * Bytes that a connection buffers in each direction. Node's 64 KiB would be a gigabyte over all
 * connections.
 */
const CONNECTION_BUFFER_BYTES = 16 * 1024;

export type ApiSettings = Environment & { ADMIN_TOKEN: string };

declare module 'fastify' {
  interface FastifyInstance {
    /** Adds the orders of a warm-up to the queue, and forgets its refusals. */
    endRehearsal(): Promise<void>;
  }
}

/** Milliseconds between two checks for connections that send too slowly. Node's default is 30 s. */
export const CONNECTION_CHECK_MS = 500;

/** The buyers' routes, and the operators' routes unless ADMIN_PORT is set. */
export async function buildApp(
  settings: ApiSettings,
  connections: Connections,
  log: Logger,
  tracing: Tracing | null = null,
) {
  const app = await createServer(settings, connections, log, { tracing, isPublic: true });
  const { inventory, globalRateLimiter, queue, metrics, tokenVerifier } = connections;
  const { timeBatch } = metrics;
  await app.register(buyerIdentity, { tokenVerifier });
  await app.register(apiReference);

  const bucket = { capacity: settings.RATE_LIMIT_TOKENS, refillRate: settings.TOKEN_REFILL_RATE };
  const { saleReader, readOrder } = createReaders(settings, connections, log);
  const refusalCache = createRefusalCache(1_000 / bucket.refillRate);
  await connections.subscribeToInvalidations((saleId) => {
    refusalCache.invalidate(saleId);
    saleReader.invalidate(saleId);
  });
  const batcher = createReserveBatcher({
    inventory: observeReserve(inventory, { timeBatch, tracing }),
    globalRateLimiter: createRateLimitLease(globalRateLimiter),
    bucket,
  });
  const enqueuer = createEnqueueOrders({ queue: observeAdd(queue, { timeBatch, tracing }), log });
  const placeOrder = createPlaceOrder({ batcher, enqueuer, refusalCache, sales: saleReader, metrics, log });

  // In one scope: each has its own classes of requests and replies, and code for one is faster.
  await app.register(fp(healthRoutes), connections);
  await app.register(fp(saleRoutes), { saleReader });
  await app.register(fp(orderRoutes), {
    placeOrder,
    replayStatus: createReplayStatus(connections),
    refusalCache,
    readOrder,
    metrics,
    bucket,
    systemLimit: settings.GLOBAL_RATE_LIMIT,
  });
  if (settings.ADMIN_PORT === 0) await registerOperators(app, settings, connections, { saleReader, readOrder });

  app.decorate('endRehearsal', async () => {
    await enqueuer.settled();
    refusalCache.invalidate(null);
  });
  app.addHook('onReady', () => saleReader.load().then(() => {}));
  // After the last reply: enqueue the accepted orders before the connections close.
  app.addHook('onClose', () => enqueuer.drain());
  return app;
}

/** The operators' routes, the queue board, health and the API reference on ADMIN_PORT. */
export async function buildAdminApp(settings: ApiSettings, connections: Connections, log: Logger) {
  const app = await createServer(settings, connections, log, { tracing: null, isPublic: false });
  await app.register(apiReference);
  await app.register(healthRoutes, connections);
  await registerOperators(app, settings, connections, createReaders(settings, connections, log));
  return app;
}

/** The server with everything that runs before a route. */
async function createServer(
  settings: ApiSettings,
  { metrics }: Connections,
  log: Logger,
  { tracing, isPublic }: { tracing: Tracing | null; isPublic: boolean },
) {
  const app = fastify(serverOptions(settings, log));
  if (settings.TRUST_PROXY !== '') app.addHook('onRequest', removePorts);
  await app.register(requestTrace, { tracing });
  await app.register(answerHeaders);
  await app.register(refusalCount, metrics);
  await app.register(problems);
  await app.register(requestMetrics, metrics);
  // Before overload and rate limits: otherwise a browser hides their refusals from the page.
  const origins = isPublic ? originsOf(settings.CORS_ORIGINS) : [];
  await app.register(crossOrigin, { origins, buyerHeader: settings.AUTH === 'jwt' ? 'authorization' : 'x-user-id' });
  await app.register(drain);
  await app.register(connectionBounds, { most: settings.MAX_CONNECTIONS });
  // Operators are never shed.
  const [inFlight, loopDelayMs] = isPublic ? [settings.OVERLOAD_IN_FLIGHT, settings.OVERLOAD_LOOP_DELAY_MS] : [0, 0];
  await app.register(overload, { inFlight, loopDelayMs });
  await app.register(addressLimit, { perSecond: settings.IP_RATE_LIMIT });
  await app.register(notFound);
  await app.register(jsonBody);
  return app;
}

function createReaders(settings: ApiSettings, connections: Connections, log: Logger) {
  const { inventory, sales, orders } = connections;
  const saleReader = createSaleReader({ inventory, sales, log });
  const readOrder = createReadOrder({ inventory, orders, sales: saleReader, timeoutMs: settings.REQUEST_TIMEOUT_MS });
  return { saleReader, readOrder };
}

async function registerOperators(
  app: Awaited<ReturnType<typeof createServer>>,
  settings: ApiSettings,
  { inventory, sales, queue }: Connections,
  { saleReader, readOrder }: ReturnType<typeof createReaders>,
): Promise<void> {
  await app.register(operatorIdentity, { token: settings.ADMIN_TOKEN });
  await app.register(async (operators) => {
    const manageSales = createManageSales({ inventory, sales, saleReader });
    await operators.register(adminRoutes, { manageSales, readOrder });
    await operators.register(queueBoard, { queue });
  });
}

function serverOptions(settings: ApiSettings, log: FastifyBaseLogger): FastifyHttpOptions<Server> {
  return {
    loggerInstance: log,
    // A log line costs more than most requests; refusals are counted instead.
    logController: new LogController({ disableRequestLogging: true }),
    // No child logger per request: the few log calls add the request id themselves.
    childLoggerFactory: (logger) => logger,
    trustProxy: settings.TRUST_PROXY === '' ? false : settings.TRUST_PROXY,
    bodyLimit: BODY_LIMIT_BYTES,
    requestIdHeader: false,
    genReqId: requestIdOf,
    // Strict: "1" is not a number, and an unknown field is an error.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    frameworkErrors: sendFrameworkError,
    clientErrorHandler: sendConnectionError,
    // Requests on keep-alive connections are served until the server closes the connection.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: settings.RECEIVE_TIMEOUT_MS,
    keepAliveTimeout: settings.KEEP_ALIVE_TIMEOUT_MS,
    // Closes a connection whose client does not read the reply; longer than any handler takes.
    connectionTimeout: Math.max(settings.KEEP_ALIVE_TIMEOUT_MS, settings.REQUEST_TIMEOUT_MS * 5),
    http: {
      // Also closes a connection that sends nothing.
      headersTimeout: settings.RECEIVE_TIMEOUT_MS,
      requestTimeout: settings.RECEIVE_TIMEOUT_MS,
      connectionsCheckingInterval: CONNECTION_CHECK_MS,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      // Checked with the other faults of framing (plugins/framing.ts).
      requireHostHeader: false,
      highWaterMark: CONNECTION_BUFFER_BYTES,
    },
  };
}
