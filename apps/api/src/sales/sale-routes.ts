/** What is on offer. Anybody may look, and looking takes nothing. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { SALE_ID_PATTERN } from '@flash-sale/core/sales/sale.ts';
import type { SaleReader } from './read-sales.ts';
import { ListSalesSchema, ReadSaleSchema } from './sale-contract.ts';

const saleIdPattern = new RegExp(SALE_ID_PATTERN);

export const saleRoutes: FastifyPluginAsyncTypebox<{ saleReader: SaleReader }> = async (app, { saleReader }) => {
  app.get('/api/flash-sales', { schema: ListSalesSchema }, async () => {
    const { products, now } = await saleReader.list();
    return { flash_sales: products, count: products.length, server_time: new Date(now).toISOString() };
  });

  app.get('/api/flash-sales/:product_id', { schema: ReadSaleSchema }, async (request, reply) => {
    const { product_id: saleId } = request.params;
    const found = saleIdPattern.test(saleId) ? await saleReader.read(saleId) : null;
    if (found === null) return reply.problem('SALE_NOT_FOUND');
    return { product: found.product, server_time: new Date(found.now).toISOString() };
  });
};
