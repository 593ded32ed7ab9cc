/** Routes for operators: create, read, pause and change sales. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { newUlid } from '@flash-sale/core/domain/order.ts';
import { PRICE_PATTERN, SALE_ID_PATTERN, saleState } from '@flash-sale/core/domain/sale.ts';
import type { Operator } from '@flash-sale/core/ledger/sale-store.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { sendOrder } from '../orders/order-routes.ts';
import type { createReadOrder } from '../orders/read-order.ts';
import {
  ChangeStockSchema,
  ChangeWindowSchema,
  CreateSaleSchema,
  ListAdminSalesSchema,
  PauseSaleSchema,
  ReadAdminSaleSchema,
  ReadAnyOrderSchema,
  ResumeSaleSchema,
  SALE_BODY_LIMIT_BYTES,
} from './admin-contract.ts';
import type { createManageSales, Managed, SaleNumbers } from './manage-sales.ts';
import { isBlank, priceWarnings, readWindow, refusedWarnings, windowWarnings } from './sale-values.ts';

const pricePattern = new RegExp(PRICE_PATTERN);
const saleIdPattern = new RegExp(SALE_ID_PATTERN);

interface Options {
  manageSales: ReturnType<typeof createManageSales>;
  readOrder: ReturnType<typeof createReadOrder>;
}

export const adminRoutes: FastifyPluginAsyncTypebox<Options> = async (app, { manageSales, readOrder }) => {
  app.addHook('onRequest', app.requireOperator);
  app.addHook('preValidation', async (request, reply) => {
    const { product_id: id } = request.params as { product_id?: string };
    return id === undefined || saleIdPattern.test(id) ? undefined : reply.problem('SALE_NOT_FOUND');
  });

  app.get('/api/admin/orders/:order_id', { schema: ReadAnyOrderSchema }, async (request, reply) =>
    sendOrder(reply, await readOrder(request.params.order_id, 'operator')),
  );

  app.post(
    '/api/admin/sales',
    { schema: CreateSaleSchema, bodyLimit: SALE_BODY_LIMIT_BYTES },
    async (request, reply) => {
      const { body } = request;
      const window = readWindow(body);
      if (typeof window === 'string') return reply.problem('INVALID_REQUEST', { detail: window });
      const prices = { original_price: String(body.original_price), flash_sale_price: String(body.flash_sale_price) };
      for (const [name, price] of Object.entries(prices))
        if (!pricePattern.test(price))
          return reply.problem('INVALID_REQUEST', { detail: `body/${name} must have at most 4 decimal places.` });
      if (isBlank(body.name)) return reply.problem('INVALID_REQUEST', { detail: 'body/name must not be blank.' });
      const warnings = {
        ...windowWarnings(window, await manageSales.readTime()),
        ...priceWarnings(prices, body.currency),
      };
      const refused = refusedWarnings(warnings, body.allow);
      if (refused) return reply.problem('INVALID_REQUEST', { detail: refused });
      const made = await manageSales.create(
        {
          id: body.product_id,
          name: body.name,
          description: body.description ?? null,
          originalPrice: prices.original_price,
          flashSalePrice: prices.flash_sale_price,
          currency: body.currency,
          units: body.units,
          ...window,
          perBuyerLimit: body.per_buyer_limit ?? 0,
        },
        operatorOf(request),
      );
      if (made === 'exists') return reply.problem('SALE_EXISTS');
      return answer(reply.code(201), made);
    },
  );

  app.get('/api/admin/sales', { schema: ListAdminSalesSchema }, async (_request, reply) => {
    const [found, now] = await Promise.all([manageSales.list(), manageSales.readTime()]);
    const sales = found.map((sale) => ({
      product_id: sale.id,
      name: sale.name,
      state: saleState(sale, now),
      starts_at: new Date(sale.startsAt).toISOString(),
      ends_at: new Date(sale.endsAt).toISOString(),
      allotment: sale.allotment,
      sold: sale.sold,
    }));
    reply.header('cache-control', 'no-store');
    return { sales, count: sales.length };
  });

  app.get('/api/admin/sales/:product_id', { schema: ReadAdminSaleSchema }, async (request, reply) =>
    answer(reply, await manageSales.read(request.params.product_id)),
  );

  app.post('/api/admin/sales/:product_id/pause', { schema: PauseSaleSchema }, async (request, reply) =>
    answer(reply, await manageSales.setPaused(request.params.product_id, true, operatorOf(request))),
  );

  app.post('/api/admin/sales/:product_id/resume', { schema: ResumeSaleSchema }, async (request, reply) =>
    answer(reply, await manageSales.setPaused(request.params.product_id, false, operatorOf(request))),
  );

  app.post('/api/admin/sales/:product_id/window', { schema: ChangeWindowSchema }, async (request, reply) => {
    const window = readWindow(request.body);
    if (typeof window === 'string') return reply.problem('INVALID_REQUEST', { detail: window });
    const refused = refusedWarnings(windowWarnings(window, await manageSales.readTime()), request.body.allow);
    if (refused) return reply.problem('INVALID_REQUEST', { detail: refused });
    const { startsAt, endsAt } = window;
    const { product_id: saleId } = request.params;
    return answer(reply, await manageSales.changeWindow(saleId, startsAt, endsAt, operatorOf(request)));
  });

  app.post('/api/admin/sales/:product_id/stock', { schema: ChangeStockSchema }, async (request, reply) => {
    const { delta, reason, change_id: id = newUlid() } = request.body;
    if (delta === 0) return reply.problem('INVALID_REQUEST', { detail: 'body/delta must not be 0.' });
    if (isBlank(reason)) return reply.problem('INVALID_REQUEST', { detail: 'body/reason must not be blank.' });
    const changed = await manageSales.changeStock(
      { id, saleId: request.params.product_id, delta, reason },
      operatorOf(request),
    );
    if (changed === 'other_change') return reply.problem('CHANGE_ID_TAKEN', { change_id: id });
    if (changed === 'pending') return reply.problem('STOCK_CHANGE_PENDING', { change_id: id });
    if (changed === 'too_many') return reply.problem('TOO_MANY_UNITS');
    if (typeof changed === 'object' && 'refused' in changed) {
      const { available } = changed;
      const detail = `The change would withdraw ${-delta} units, and ${available} were free. Nothing was changed.`;
      return reply.problem('UNITS_PROMISED', { available, detail });
    }
    return answer(reply, changed);
  });
};

function operatorOf(request: FastifyRequest): Operator {
  return { actor: request.operator, requestId: request.id };
}

function answer(reply: FastifyReply, managed: Managed) {
  if (managed === 'no_such_sale') return reply.problem('SALE_NOT_FOUND');
  if (managed === 'recovering') return reply.problem('SALE_RECOVERING');
  if (managed === 'too_many_sales') return reply.problem('TOO_MANY_SALES');
  reply.header('cache-control', 'no-store');
  return reply.send(toBody(managed));
}

function toBody({ sale, numbers, now }: SaleNumbers) {
  return {
    product_id: sale.id,
    name: sale.name,
    description: sale.description,
    original_price: sale.originalPrice,
    flash_sale_price: sale.flashSalePrice,
    currency: sale.currency,
    per_buyer_limit: sale.perBuyerLimit,
    starts_at: new Date(sale.startsAt).toISOString(),
    ends_at: new Date(sale.endsAt).toISOString(),
    state: saleState(sale, now),
    ...numbers,
    ledger: { allotment: sale.allotment, sold: sale.sold },
    server_time: new Date(now).toISOString(),
  };
}
