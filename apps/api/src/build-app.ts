/** The API, composed: plugins and routes in the order in which a request meets them. Opens nothing, listens nowhere. */
import type { Server } from 'node:http';
import type { Environment } from '@flash-sale/core/environment.ts';
import {
  BODY_LIMIT_BYTES,
  CONNECTION_BUFFER_BYTES,
  CONNECTION_CHECK_MS,
  HEADER_LIMIT_BYTES,
} from '@flash-sale/core/limits.ts';
import type { Tracing } from '@flash-sale/core/tracing/tracing.ts';
import fastify, { type FastifyBaseLogger, type FastifyHttpOptions, LogController } from 'fastify';
import type { Logger } from 'pino';
import { adminRoutes } from './admin/admin-routes.ts';
import { createManageSales } from './admin/manage-sales.ts';
import { queueBoard } from './admin/queue-board.ts';
import type { Parts } from './connect-parts.ts';
import { healthRoutes } from './health/health-routes.ts';
import { createAdmissionDesk } from './orders/admission-desk.ts';
import { createHandOver } from './orders/hand-over.ts';
import { createKnownRefusals } from './orders/known-refusals.ts';
import { orderRoutes } from './orders/order-routes.ts';
import { createPermitLease } from './orders/permit-lease.ts';
import { createAcceptance, createPlaceOrder } from './orders/place-order.ts';
import { createReadOrder } from './orders/read-order.ts';
import addressLimit from './plugins/address-limit.ts';
import answerCount from './plugins/answer-count.ts';
import apiReference from './plugins/api-reference.ts';
import buyerIdentity from './plugins/buyer-identity.ts';
import connectionBounds from './plugins/connection-bounds.ts';
import drain from './plugins/drain.ts';
import jsonBody from './plugins/json-body.ts';
import noStore from './plugins/no-store.ts';
import operatorIdentity from './plugins/operator-identity.ts';
import overload from './plugins/overload.ts';
import problems, { sendConnectionError, sendFrameworkError } from './plugins/problems.ts';
import refusalCount from './plugins/refusal-count.ts';
import requestTrace from './plugins/request-trace.ts';
import { requestIdOf } from './request-ids.ts';
import { createSaleReader } from './sales/read-sales.ts';
import { saleRoutes } from './sales/sale-routes.ts';

export type ApiSettings = Environment & { ADMIN_TOKEN: string };

export async function buildApp(settings: ApiSettings, parts: Parts, log: Logger, tracing: Tracing | null = null) {
  const app = fastify(serverOptions(settings, log));
  const { metrics } = parts;

  // Before all that may refuse a request.
  await app.register(requestTrace, { tracing });
  // Early, so that the refusals of all that follows are not stored either.
  await app.register(noStore);
  await app.register(refusalCount, { count: metrics.countRefusal, expect: metrics.expectRefusals });
  await app.register(problems);
  // Before every route: it sees only those that are registered after it.
  await app.register(answerCount, { answersOf: metrics.answersOf });
  await app.register(connectionBounds, { most: settings.MAX_CONNECTIONS });
  await app.register(drain);
  await app.register(overload, { inFlight: settings.OVERLOAD_IN_FLIGHT, loopDelayMs: settings.OVERLOAD_LOOP_DELAY_MS });
  await app.register(addressLimit, { perSecond: settings.IP_RATE_LIMIT });
  app.setNotFoundHandler((_request, reply) => void reply.problem('NOT_FOUND'));
  await app.register(jsonBody);
  await app.register(buyerIdentity);
  await app.register(operatorIdentity, { token: settings.ADMIN_TOKEN });
  // Before the routes: it sees only those that are registered after it.
  await app.register(apiReference);

  const bucket = { capacity: settings.RATE_LIMIT_TOKENS, refillRate: settings.TOKEN_REFILL_RATE };
  const { gate, systemWindow, catalogueCache, sales, orders, queue } = parts;
  const saleReader = createSaleReader({ gate, catalogueCache, sales, log });
  const handOver = createHandOver({ queue, log, time: metrics.timeBatch });
  const knownRefusals = createKnownRefusals(1_000 / bucket.refillRate);
  await parts.listenForNews(knownRefusals.forget);
  const accept = createAcceptance({ handOver, log });
  const desk = createAdmissionDesk({
    gate,
    systemWindow: createPermitLease(systemWindow),
    bucket,
    time: metrics.timeBatch,
    whenDecided(batch) {
      for (const { outcome } of batch.decisions) metrics.countDecision(outcome.word, 'gate');
      accept(batch);
      knownRefusals.learn(batch);
    },
  });
  const placeOrder = createPlaceOrder({ desk, sales: saleReader, count: metrics.countOrder, log });

  await app.register(healthRoutes, { probes: parts.probes, breakers: parts.breakers });
  await app.register(saleRoutes, { saleReader });
  await app.register(orderRoutes, {
    placeOrder,
    knownRefusals,
    countFromMemory: (word) => metrics.countDecision(word, 'memory'),
    readOrder: createReadOrder({ gate, orders, sales: saleReader, timeoutMs: settings.REQUEST_TIMEOUT_MS }),
    bucket,
    systemLimit: settings.GLOBAL_RATE_LIMIT,
  });
  await app.register(adminRoutes, { manageSales: createManageSales({ gate, sales, saleReader }) });
  await app.register(queueBoard, { queue });

  // Runs after the last request was answered: what was accepted goes to the queue before the connections close.
  app.addHook('onClose', async () => {
    await handOver.drain();
  });
  return app;
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
