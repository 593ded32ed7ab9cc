/** POST an order, GET what became of it. Shape and identity here; deciding is place-order's. */

import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { BODY_LIMIT_BYTES, MAX_IDEMPOTENCY_KEY_LENGTH } from '@flash-sale/core/config/limits.ts';
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import type { FastifyReply } from 'fastify';
import { PlaceOrderSchema, ReadOrderSchema } from './order-contract.ts';
import type { createPlaceOrder, PlaceOrderOutcome } from './place-order.ts';
import type { createReadOrder, ReadOrderOutcome } from './read-order.ts';
import type { CachedRefusal, RefusalCache } from './refusal-cache.ts';
import type { Admission } from './reserve-batcher.ts';

interface Options {
  placeOrder: ReturnType<typeof createPlaceOrder>;
  refusalCache: Pick<RefusalCache, 'of'>;
  /** Told of each order that is answered from there. */
  countFromMemory: (word: CachedRefusal['word']) => void;
  readOrder: ReturnType<typeof createReadOrder>;
  bucket: BuyerBucketSettings;
  systemLimit: number;
}

type LimitsSeen = Pick<Admission, 'outcome' | 'tokensLeft' | 'system'>;

const saleIdPattern = new RegExp(SALE_ID_PATTERN);
const keyPattern = new RegExp(`^[\\x20-\\x7e]{1,${MAX_IDEMPOTENCY_KEY_LENGTH}}$`);

export const orderRoutes: FastifyPluginAsyncTypebox<Options> = async (app, options) => {
  const { placeOrder, refusalCache, countFromMemory, readOrder, bucket, systemLimit } = options;
  const describeLimits = createLimitHeaders(bucket, systemLimit);
  app.addHook('onRequest', app.requireBuyer);

  app.post('/api/flash-sales/:product_id/order', {
    schema: PlaceOrderSchema,
    // Before the body is read: a request that is wrong as well hears of this first.
    onRequest: (request, reply, next) => {
      if (request.headers['idempotency-key'] !== undefined || !isShort(request.headers)) return next();
      const { product_id: saleId } = request.params as { product_id: string };
      const known = refusalCache.of(saleId, request.buyerId);
      if (known === null) return next();
      const { outcome, waitMs } = known;
      countFromMemory(outcome.word);
      if (outcome.word === 'buyer_limited') describeLimits(reply, { outcome, tokensLeft: 0, system: null });
      refuse(reply, outcome, waitMs);
    },
    preValidation: (request, _reply, next) => {
      request.body ??= {};
      next();
    },
    // Not async: each promise less counts for a crowd.
    handler: (request, reply) => {
      const { product_id: saleId } = request.params;
      if (!saleIdPattern.test(saleId)) return void reply.problem('SALE_NOT_FOUND');
      const idempotencyKey = readIdempotencyKey(request.headers['idempotency-key']);
      if (idempotencyKey === 'malformed') return void reply.problem('INVALID_IDEMPOTENCY_KEY');
      const quantity = request.body.quantity ?? 1;
      const { buyerId, id: requestId, trace } = request;
      placeOrder({ saleId, buyerId, quantity, requestId, idempotencyKey: idempotencyKey?.key ?? null, trace })
        .then((placed) => {
          if (placed.kind !== 'decided') return void refuseUndecided(reply, placed, idempotencyKey !== null);
          const { outcome } = placed.admission;
          describeLimits(reply, placed.admission);
          if (outcome.word !== 'reserved' && outcome.word !== 'replayed')
            return void refuse(reply, outcome, placed.admission.system?.waitMs ?? 0);
          if (outcome.word === 'replayed') reply.header('idempotency-replayed', 'true');
          reply.send({
            order_id: outcome.word === 'replayed' ? outcome.orderId : placed.orderId,
            status: 'accepted',
            product_id: saleId,
            quantity,
            remaining: outcome.available,
          });
        })
        .catch((error: unknown) => sendFault(reply, error));
    },
  });

  app.get('/api/orders/:order_id', { schema: ReadOrderSchema }, async (request, reply) => {
    return sendOrder(reply, await readOrder(request.params.order_id, { buyerId: request.buyerId }));
  });
};

/** Also of the operator's route. */
export function sendOrder(reply: FastifyReply, found: ReadOrderOutcome): FastifyReply {
  if (found === 'no_such_order') return reply.problem('ORDER_NOT_FOUND');
  if (found === 'inventory_unavailable') return reply.problem('INVENTORY_UNAVAILABLE');
  if (found === 'recovering') return reply.problem('SALE_RECOVERING');
  return reply.send(found);
}

/** A body that nobody reads must be one that would have been taken: else it would be received without a bound. */
function isShort(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) <= BODY_LIMIT_BYTES;
}

/** To the error handler of problems.ts. */
function sendFault(reply: FastifyReply, error: unknown): void {
  reply.send(error);
}

/** @param canRepeat a request with a key may be sent again: it gets the same order */
function refuseUndecided(
  reply: FastifyReply,
  placed: Exclude<PlaceOrderOutcome, { kind: 'decided' }>,
  canRepeat: boolean,
): FastifyReply {
  switch (placed.kind) {
    case 'no_such_sale':
      return reply.problem('SALE_NOT_FOUND');
    case 'recovering':
      return reply.problem('SALE_RECOVERING', { detail: "The sale's stock is being brought up. Nothing was taken." });
    case 'inventory_unavailable':
      return reply.problem('INVENTORY_UNAVAILABLE', { detail: 'The stock cannot be reached. Nothing was taken.' });
    case 'unknown':
      return canRepeat
        ? reply.problem('OUTCOME_UNKNOWN', {
            // Not this attempt's id: an earlier one may hold the key.
            retryable: true,
            detail:
              'The stock did not answer in time: the order may have been taken. Send the same request with the same key again.',
          })
        : reply.problem('OUTCOME_UNKNOWN', { order_id: placed.orderId });
  }
}

/** @param waitMs until the system's next permit */
function refuse(reply: FastifyReply, outcome: ReserveOutcome, waitMs: number): FastifyReply {
  switch (outcome.word) {
    case 'buyer_limited':
      return reply.problem('BUYER_RATE_LIMITED', { retry_after_ms: outcome.waitMs });
    case 'system_limited':
      return reply.problem('SYSTEM_RATE_LIMITED', { retry_after_ms: waitMs });
    case 'not_open':
      return reply.problem('SALE_NOT_OPEN', { retry_after_ms: outcome.waitMs });
    case 'paused':
      return reply.problem('SALE_PAUSED');
    case 'ended':
      return reply.problem('SALE_ENDED');
    case 'sold_out':
      return reply.problem('SOLD_OUT', { available: 0 });
    case 'not_enough_units':
      return reply.problem('NOT_ENOUGH_UNITS', { available: outcome.available });
    case 'over_buyer_limit':
      return reply.problem('BUYER_LIMIT', { holds: outcome.holds });
    case 'key_reused':
      return reply.problem('IDEMPOTENCY_KEY_REUSED');
    case 'ledger_behind':
      return reply.problem('LEDGER_BEHIND');
    case 'reserved':
    case 'replayed':
    case 'recovering':
    case 'unknown_sale':
      throw new Error(`${outcome.word} is no refusal of the inventory`);
  }
}

/**
 * Idempotency-Key of the IETF draft "The Idempotency-Key HTTP Header Field": a string in quotes. A bare one, which most clients send, is
 * taken as it stands.
 */
function readIdempotencyKey(header: string | string[] | undefined): { key: string } | null | 'malformed' {
  if (header === undefined) return null;
  if (typeof header !== 'string') return 'malformed';
  const quoted = /^"((?:[^"\\]|\\["\\])*)"$/.exec(header);
  const key = quoted ? (quoted[1] as string).replaceAll(/\\(["\\])/g, '$1') : header;
  return keyPattern.test(key) && (quoted || !header.includes('"')) ? { key } : 'malformed';
}

/**
 * RateLimit-Policy and RateLimit of the IETF draft "RateLimit header fields for HTTP", a policy for each layer. What is said again and again
 * is put together once.
 */
function createLimitHeaders(bucket: BuyerBucketSettings, systemLimit: number) {
  const buyerPolicy = `"buyer";q=${bucket.capacity};w=${Math.ceil(bucket.capacity / bucket.refillRate)}`;
  const systemPolicy = `"system";q=${systemLimit};w=1`;
  const bothPolicies = `${buyerPolicy}, ${systemPolicy}`;

  function buyerState(tokensLeft: number, waitMs: number): string {
    const reset = waitMs > 0 ? Math.ceil(waitMs / 1000) : Math.ceil((bucket.capacity - tokensLeft) / bucket.refillRate);
    return `"buyer";r=${tokensLeft};t=${reset}`;
  }

  return function describeLimits(reply: FastifyReply, { outcome, tokensLeft, system }: LimitsSeen): void {
    const ofBuyer =
      bucket.capacity > 0 && tokensLeft >= 0
        ? buyerState(tokensLeft, outcome.word === 'buyer_limited' ? outcome.waitMs : 0)
        : null;
    const ofSystem = systemLimit > 0 && system !== null ? `"system";r=${system.remaining};t=1` : null;
    if (ofBuyer !== null && ofSystem !== null) {
      reply.header('ratelimit-policy', bothPolicies);
      reply.header('ratelimit', `${ofBuyer}, ${ofSystem}`);
    } else if (ofBuyer !== null || ofSystem !== null) {
      reply.header('ratelimit-policy', ofBuyer === null ? systemPolicy : buyerPolicy);
      reply.header('ratelimit', ofBuyer ?? ofSystem);
    }
  };
}
