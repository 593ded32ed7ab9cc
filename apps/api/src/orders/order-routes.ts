/** Places and reads orders. The routes check shape and identity; placeOrder decides. */
import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/inventory/inventory.ts';
import type { Metrics } from '@flash-sale/core/runtime/metrics.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { BODY_LIMIT_BYTES } from '../plugins/json-body.ts';
import { PlaceOrderSchema, ReadOrderSchema } from './order-contract.ts';
import type { createPlaceOrder } from './place-order.ts';
import { createRateLimitHeaders } from './rate-limit-headers.ts';
import type { createReadOrder, ReadOrderOutcome } from './read-order.ts';
import type { RefusalCache } from './refusal-cache.ts';
import { refuse } from './refusals.ts';
import type { createReplayStatus } from './replay-status.ts';

/** In characters; bounded because Redis keeps each key for as long as the sale. */
const MAX_IDEMPOTENCY_KEY_LENGTH = 128;

/** Seconds until a pending order should be read again (Retry-After). */
const PENDING_RETRY_S = 1;

interface Options {
  placeOrder: ReturnType<typeof createPlaceOrder>;
  replayStatus: ReturnType<typeof createReplayStatus>;
  refusalCache: Pick<RefusalCache, 'find'>;
  readOrder: ReturnType<typeof createReadOrder>;
  metrics: Pick<Metrics, 'countDecision'>;
  bucket: BuyerBucketSettings;
  /** Orders per second over all processes; 0 = no limit. */
  systemLimit: number;
}

const saleIdPattern = new RegExp(SALE_ID_PATTERN);
const keyPattern = new RegExp(`^[\\x20-\\x7e]{1,${MAX_IDEMPOTENCY_KEY_LENGTH}}$`);

export const orderRoutes: FastifyPluginAsyncTypebox<Options> = async (app, options) => {
  const { placeOrder, replayStatus, refusalCache, readOrder, metrics, bucket, systemLimit } = options;
  const setRateLimitHeaders = createRateLimitHeaders(bucket, systemLimit);

  /** Runs before the body is read. */
  function refuseFromCache(request: FastifyRequest, reply: FastifyReply, next: () => void): void {
    const mayBeRetry = request.headers['idempotency-key'] !== undefined;
    if (mayBeRetry || !hasBoundedBody(request.headers)) return void next();
    const { product_id: saleId } = request.params as { product_id: string };
    const cached = refusalCache.find(saleId, request.buyerId);
    if (cached === null) return void next();
    const { outcome, waitMs } = cached;
    metrics.countDecision(outcome.kind, 'cache');
    if (outcome.kind === 'buyer_limited')
      setRateLimitHeaders(reply, { tokensLeft: 0, tokenInMs: outcome.waitMs, permits: null });
    refuse(reply, outcome, { permitInMs: waitMs, orderId: null, repeatable: false });
  }

  app.post('/api/flash-sales/:product_id/order', {
    schema: PlaceOrderSchema,
    onRequest: [app.requireBuyer, refuseFromCache],
    preValidation: (request, _reply, next) => {
      // null is no object, and refused.
      if (request.body === undefined) request.body = {};
      next();
    },
    handler: async (request, reply) => {
      const { product_id: saleId } = request.params;
      if (!saleIdPattern.test(saleId)) return reply.problem('SALE_NOT_FOUND');
      const idempotencyKey = readIdempotencyKey(request.headers['idempotency-key']);
      if (idempotencyKey === undefined) return reply.problem('INVALID_IDEMPOTENCY_KEY');
      const { quantity = 1 } = request.body;
      const { buyerId, id: requestId, trace } = request;
      const { orderId, outcome, tokensLeft, permits } = await placeOrder({
        saleId,
        buyerId,
        quantity,
        requestId,
        idempotencyKey,
        traceparent: trace?.traceparent,
      });
      const tokenInMs = outcome.kind === 'buyer_limited' ? outcome.waitMs : 0;
      setRateLimitHeaders(reply, { tokensLeft, tokenInMs, permits });
      if (outcome.kind !== 'reserved' && outcome.kind !== 'replayed') {
        const permitInMs = permits?.waitMs ?? 0;
        return refuse(reply, outcome, { permitInMs, orderId, repeatable: idempotencyKey !== null });
      }
      const answer = { product_id: saleId, quantity, remaining: outcome.available };
      if (outcome.kind === 'reserved') {
        trace?.note({ 'flash_sale.order_id': orderId });
        return reply.send({ order_id: orderId, status: 'accepted', ...answer });
      }
      trace?.note({ 'flash_sale.order_id': outcome.orderId });
      const status = await replayStatus(outcome.orderId);
      if (status === 'pending') reply.header('retry-after', PENDING_RETRY_S);
      reply.header('idempotency-replayed', 'true');
      return reply.send({ order_id: outcome.orderId, status, replayed: true, ...answer });
    },
  });

  app.get('/api/orders/:order_id', { schema: ReadOrderSchema, onRequest: app.requireBuyer }, async (request, reply) => {
    return sendOrder(reply, await readOrder(request.params.order_id, { buyerId: request.buyerId }));
  });
};

/** Answers a read of an order, also for the operator's route. */
export function sendOrder(reply: FastifyReply, found: ReadOrderOutcome): FastifyReply {
  if (found === 'no_such_order') return reply.problem('ORDER_NOT_FOUND');
  if (found === 'inventory_unavailable') return reply.problem('INVENTORY_UNAVAILABLE');
  if (found === 'recovering') return reply.problem('SALE_RECOVERING');
  if (found.status === 'pending') reply.header('retry-after', PENDING_RETRY_S);
  return reply.send(found);
}

/**
 * Whether a request can be answered before its body is read. A longer or chunked body would then be
 * received without a bound.
 */
function hasBoundedBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) <= BODY_LIMIT_BYTES;
}

/**
 * Reads Idempotency-Key (IETF draft "The Idempotency-Key HTTP Header Field"): a quoted string. Most
 * clients send it without quotes, which is accepted too.
 *
 * @returns null if it is absent, undefined if it is malformed
 */
function readIdempotencyKey(header: string | string[] | undefined): string | null | undefined {
  if (header === undefined) return null;
  if (typeof header !== 'string') return undefined;
  const quoted = /^"((?:[^"\\]|\\["\\])*)"$/.exec(header);
  const key = quoted ? (quoted[1] as string).replaceAll(/\\(["\\])/g, '$1') : header;
  return keyPattern.test(key) && (quoted || !header.includes('"')) ? key : undefined;
}
