/** POST an order, GET what became of it. Shape and identity here; deciding is place-order's. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { SALE_ID_PATTERN } from '@flash-sale/core/sales/sale.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/stock/stock-gate.ts';
import type { FastifyReply } from 'fastify';
import type { Admission } from './admission-desk.ts';
import { PlaceOrderSchema, ReadOrderSchema } from './order-contract.ts';
import type { createPlaceOrder, PlaceOrderOutcome } from './place-order.ts';
import type { createReadOrder } from './read-order.ts';

interface Options {
  placeOrder: ReturnType<typeof createPlaceOrder>;
  readOrder: ReturnType<typeof createReadOrder>;
  bucket: BuyerBucketSettings;
  systemLimit: number;
}

const saleIdPattern = new RegExp(SALE_ID_PATTERN);

export const orderRoutes: FastifyPluginAsyncTypebox<Options> = async (app, options) => {
  const { placeOrder, readOrder, bucket, systemLimit } = options;
  app.addHook('onRequest', app.requireBuyer);

  app.post('/api/flash-sales/:product_id/order', {
    schema: PlaceOrderSchema,
    preValidation: async (request) => {
      if (request.body === undefined || request.body === null) request.body = {};
    },
    handler: async (request, reply) => {
      const { product_id: saleId } = request.params;
      if (!saleIdPattern.test(saleId)) return reply.problem('SALE_NOT_FOUND');
      const quantity = request.body.quantity ?? 1;
      const placed = await placeOrder({ saleId, buyerId: request.buyerId, quantity, requestId: request.id });
      if (placed.kind !== 'decided') return refuseUndecided(reply, placed);
      const { outcome } = placed.admission;
      describeLimits(reply, placed.admission, bucket, systemLimit);
      if (outcome.word !== 'reserved') return refuse(reply, placed.admission);
      return {
        order_id: placed.orderId,
        status: 'accepted' as const,
        product_id: saleId,
        quantity,
        remaining: outcome.available,
      };
    },
  });

  app.get('/api/orders/:order_id', { schema: ReadOrderSchema }, async (request, reply) => {
    const found = await readOrder(request.params.order_id, request.buyerId);
    if (found === 'no_such_order') return reply.problem('ORDER_NOT_FOUND');
    if (found === 'gate_away') return reply.problem('GATE_UNAVAILABLE');
    reply.header('cache-control', 'private, no-store');
    return found;
  });
};

function refuseUndecided(reply: FastifyReply, placed: Exclude<PlaceOrderOutcome, { kind: 'decided' }>): FastifyReply {
  switch (placed.kind) {
    case 'no_such_sale':
      return reply.problem('SALE_NOT_FOUND');
    case 'recovering':
      return reply.problem('SALE_RECOVERING');
    case 'gate_away':
      return reply.problem('GATE_UNAVAILABLE', { detail: 'The stock cannot be reached. Nothing was taken.' });
    case 'unknown':
      return reply.problem('OUTCOME_UNKNOWN', { order_id: placed.orderId });
  }
}

function refuse(reply: FastifyReply, { outcome, system }: Admission): FastifyReply {
  switch (outcome.word) {
    case 'buyer_limited':
      return reply.problem('BUYER_RATE_LIMITED', { retry_after_ms: outcome.waitMs });
    case 'system_limited':
      return reply.problem('SYSTEM_RATE_LIMITED', { retry_after_ms: system.waitMs });
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
    case 'reserved':
    case 'unknown_sale':
      throw new Error(`${outcome.word} is no refusal of the gate`);
  }
}

/** RateLimit-Policy and RateLimit of the IETF draft "RateLimit header fields for HTTP", a policy for each layer. */
function describeLimits(
  reply: FastifyReply,
  { outcome, tokensLeft, system }: Admission,
  bucket: BuyerBucketSettings,
  systemLimit: number,
): void {
  const policies: string[] = [];
  const states: string[] = [];
  if (bucket.capacity > 0) {
    const untilFull = Math.ceil((bucket.capacity - tokensLeft) / bucket.refillRate);
    const reset = outcome.word === 'buyer_limited' ? Math.ceil(outcome.waitMs / 1000) : untilFull;
    policies.push(`"buyer";q=${bucket.capacity};w=${Math.ceil(bucket.capacity / bucket.refillRate)}`);
    states.push(`"buyer";r=${tokensLeft};t=${reset}`);
  }
  if (systemLimit > 0) {
    policies.push(`"system";q=${systemLimit};w=1`);
    states.push(`"system";r=${system.remaining};t=1`);
  }
  if (policies.length === 0) return;
  reply.header('ratelimit-policy', policies.join(', '));
  reply.header('ratelimit', states.join(', '));
}
