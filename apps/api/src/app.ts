/** The API, composed: plugins and routes in the order in which a request meets them. Opens nothing, listens nowhere. */
import type { Server } from 'node:http';
import { originsOf } from '@flash-sale/core/config/access-settings.ts';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import {
  BODY_LIMIT_BYTES,
  CONNECTION_BUFFER_BYTES,
  CONNECTION_CHECK_MS,
  HEADER_LIMIT_BYTES,
} from '@flash-sale/core/config/limits.ts';
import type { Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import fastify, { type FastifyBaseLogger, type FastifyHttpOptions, LogController } from 'fastify';
import type { Logger } from 'pino';
import { adminRoutes } from './admin/admin-routes.ts';
import { createManageSales } from './admin/manage-sales.ts';
import { queueBoard } from './admin/queue-board.ts';
import buyerIdentity from './auth/buyer-identity.ts';
import operatorIdentity from './auth/operator-identity.ts';
import type { Parts } from './connect.ts';
import { healthRoutes } from './health/health-routes.ts';
import { createEnqueue } from './orders/enqueue-orders.ts';
import { orderRoutes } from './orders/order-routes.ts';
import { createAcceptance, createPlaceOrder } from './orders/place-order.ts';
import { createRateLimitLease } from './orders/rate-limit-lease.ts';
import { createReadOrder } from './orders/read-order.ts';
import { createRefusalCache } from './orders/refusal-cache.ts';
import { createReserveBatcher } from './orders/reserve-batcher.ts';
import addressLimit from './plugins/address-limit.ts';
import answerCount from './plugins/answer-count.ts';
import answerHeaders from './plugins/answer-headers.ts';
import apiReference from './plugins/api-reference.ts';
import connectionBounds from './plugins/connection-bounds.ts';
import crossOrigin from './plugins/cross-origin.ts';
import drain from './plugins/drain.ts';
import jsonBody from './plugins/json-body.ts';
import overload from './plugins/overload.ts';
import problems, { sendConnectionError, sendFrameworkError } from './plugins/problems.ts';
import refusalCount from './plugins/refusal-count.ts';
import requestTrace from './plugins/request-trace.ts';
import { requestIdOf } from './request-ids.ts';
import { createSaleReader } from './sales/read-sales.ts';
import { saleRoutes } from './sales/sale-routes.ts';

export type ApiSettings = Environment & { ADMIN_TOKEN: string };

/** The door of buyers; of operators, too, unless ADMIN_PORT sets theirs apart. */
export async function buildApp(settings: ApiSettings, parts: Parts, log: Logger, tracing: Tracing | null = null) {
  const app = await openDoor(settings, parts, log, { tracing, isPublic: true });
  const { inventory, globalRateLimiter, queue, metrics, tokenVerifier } = parts;
  await app.register(buyerIdentity, { tokenVerifier });
  // Before the routes: it sees only those that are registered after it.
  await app.register(apiReference, { buyers: tokenVerifier === null ? 'header' : 'jwt' });

  const bucket = { capacity: settings.RATE_LIMIT_TOKENS, refillRate: settings.TOKEN_REFILL_RATE };
  const { saleReader, readOrder } = createReaders(settings, parts, log);
  const enqueue = createEnqueue({ queue, log, time: metrics.timeBatch });
  const refusalCache = createRefusalCache(1_000 / bucket.refillRate);
  await parts.subscribeToInvalidations(refusalCache.forget);
  const accept = createAcceptance({ enqueue, log });
  const batcher = createReserveBatcher({
    inventory,
    globalRateLimiter: createRateLimitLease(globalRateLimiter),
    bucket,
    time: metrics.timeBatch,
    whenDecided(batch) {
      for (const { outcome } of batch.decisions) metrics.countDecision(outcome.word, 'inventory');
      accept(batch);
      refusalCache.learn(batch);
    },
  });

  await app.register(healthRoutes, { probes: parts.probes, breakers: parts.breakers });
  await app.register(saleRoutes, { saleReader });
  await app.register(orderRoutes, {
    placeOrder: createPlaceOrder({ batcher, sales: saleReader, count: metrics.countOrder, log }),
    refusalCache,
    countFromMemory: (word) => metrics.countDecision(word, 'memory'),
    readOrder,
    bucket,
    systemLimit: settings.GLOBAL_RATE_LIMIT,
  });
  if (settings.ADMIN_PORT === 0) await registerOperators(app, settings, parts, { saleReader, readOrder });

  // Runs after the last request was answered: what was accepted goes to the queue before the connections close.
  app.addHook('onClose', async () => {
    await enqueue.drain();
  });
  return app;
}

/** The door of operators alone, where ADMIN_PORT is set: their routes, the board, health and the reference to these. */
export async function buildAdminApp(settings: ApiSettings, parts: Parts, log: Logger) {
  const app = await openDoor(settings, parts, log, { tracing: null, isPublic: false });
  await app.register(apiReference, { buyers: parts.tokenVerifier === null ? 'header' : 'jwt' });
  await app.register(healthRoutes, { probes: parts.probes, breakers: parts.breakers });
  await registerOperators(app, settings, parts, createReaders(settings, parts, log));
  return app;
}

/** What a request meets before any route. */
async function openDoor(
  settings: ApiSettings,
  { metrics }: Parts,
  log: Logger,
  { tracing, isPublic }: { tracing: Tracing | null; isPublic: boolean },
) {
  const app = fastify(serverOptions(settings, log));
  // Before all that may refuse a request.
  await app.register(requestTrace, { tracing });
  // Early, so that the refusals of all that follows carry them, too.
  await app.register(answerHeaders);
  await app.register(refusalCount, { count: metrics.countRefusal, expect: metrics.expectRefusals });
  await app.register(problems);
  // Before every route: it sees only those that are registered after it.
  await app.register(answerCount, { answersOf: metrics.answersOf });
  // Before all that sheds and limits: its headers stand on these refusals, too.
  const origins = isPublic ? originsOf(settings.CORS_ORIGINS) : [];
  await app.register(crossOrigin, { origins, buyerHeader: settings.AUTH === 'jwt' ? 'authorization' : 'x-user-id' });
  await app.register(connectionBounds, { most: settings.MAX_CONNECTIONS });
  await app.register(drain);
  // Operators are never shed.
  const [inFlight, loopDelayMs] = isPublic ? [settings.OVERLOAD_IN_FLIGHT, settings.OVERLOAD_LOOP_DELAY_MS] : [0, 0];
  await app.register(overload, { inFlight, loopDelayMs });
  await app.register(addressLimit, { perSecond: settings.IP_RATE_LIMIT });
  app.setNotFoundHandler((_request, reply) => void reply.problem('NOT_FOUND'));
  await app.register(jsonBody);
  return app;
}

function createReaders(settings: ApiSettings, parts: Parts, log: Logger) {
  const { inventory, catalogueCache, sales, orders } = parts;
  const saleReader = createSaleReader({ inventory, catalogueCache, sales, log });
  const readOrder = createReadOrder({ inventory, orders, sales: saleReader, timeoutMs: settings.REQUEST_TIMEOUT_MS });
  return { saleReader, readOrder };
}

async function registerOperators(
  app: Awaited<ReturnType<typeof openDoor>>,
  settings: ApiSettings,
  { inventory, sales, queue }: Parts,
  { saleReader, readOrder }: ReturnType<typeof createReaders>,
): Promise<void> {
  await app.register(operatorIdentity, { token: settings.ADMIN_TOKEN });
  await app.register(adminRoutes, { manageSales: createManageSales({ inventory, sales, saleReader }), readOrder });
  await app.register(queueBoard, { queue });
}

function serverOptions(settings: ApiSettings, log: FastifyBaseLogger): FastifyHttpOptions<Server> {
  return {
    loggerInstance: log,
    // A line for each request would cost more than most requests do; refusals are counted instead.
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: settings.TRUST_PROXY === '' ? false : settings.TRUST_PROXY,
    bodyLimit: BODY_LIMIT_BYTES,
    requestIdHeader: false,
    genReqId: requestIdOf,
    // A logger for each request would be made for nothing: most write no line. Those that do name the request themselves.
    childLoggerFactory: (logger) => logger,
    // Nothing is converted and nothing is dropped in silence: "1" is no quantity, and an unknown field is a mistake.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    frameworkErrors: sendFrameworkError,
    clientErrorHandler: sendConnectionError,
    // Connections that are kept alive are served until the server has closed them.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    requestTimeout: settings.RECEIVE_TIMEOUT_MS,
    keepAliveTimeout: settings.KEEP_ALIVE_TIMEOUT_MS,
    // On which nothing moves: an answer that is not fetched. Longer than any answer takes to be made.
    connectionTimeout: Math.max(settings.KEEP_ALIVE_TIMEOUT_MS, settings.REQUEST_TIMEOUT_MS * 5),
    http: {
      // Also of a connection that sends nothing at all.
      headersTimeout: settings.RECEIVE_TIMEOUT_MS,
      requestTimeout: settings.RECEIVE_TIMEOUT_MS,
      connectionsCheckingInterval: CONNECTION_CHECK_MS,
      maxHeaderSize: HEADER_LIMIT_BYTES,
      highWaterMark: CONNECTION_BUFFER_BYTES,
    },
  };
}
