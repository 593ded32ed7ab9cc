/** Public reads of sales, cacheable by a CDN. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fresh from 'fresh';
import { readCursor, type SaleReader } from './read-sales.ts';
import type { SaleAnswer } from './sale-answer.ts';
import { ListSalesSchema, PAGE_MAX, ReadSaleSchema } from './sale-contract.ts';

const saleIdPattern = new RegExp(SALE_ID_PATTERN);

/**
 * Browsers revalidate each time; a CDN may cache an answer for one second, the shortest max-age.
 */
const FOR_CDN = 'public, max-age=0, s-maxage=1';

export const saleRoutes: FastifyPluginAsyncTypebox<{ saleReader: SaleReader }> = async (app, { saleReader }) => {
  app.get('/api/flash-sales', { schema: ListSalesSchema }, async (request, reply) => {
    const { state = 'active', limit = PAGE_MAX, cursor } = request.query;
    const after = cursor === undefined ? null : readCursor(cursor);
    return sendAnswer(request, reply, await saleReader.list({ state, limit: Number(limit), after }));
  });

  app.get('/api/flash-sales/:product_id', { schema: ReadSaleSchema }, async (request, reply) => {
    const { product_id: saleId } = request.params;
    const answer = saleIdPattern.test(saleId) ? await saleReader.read(saleId) : null;
    if (answer !== null) return sendAnswer(request, reply, answer);
    reply.header('cache-control', FOR_CDN);
    return reply.problem('SALE_NOT_FOUND');
  });
};

function sendAnswer(request: FastifyRequest, reply: FastifyReply, { body, etag, askedAt }: SaleAnswer): FastifyReply {
  reply.header('cache-control', FOR_CDN);
  reply.header('etag', etag);
  // 1 or more if the inventory took a second to answer; a CDN then does not cache the answer.
  reply.header('age', Math.floor((performance.now() - askedAt) / 1000));
  // Ignore `Cache-Control: no-cache`, which fetch() sends: it is for caches.
  const known = request.headers['if-none-match'];
  if (known !== undefined && fresh({ 'if-none-match': known }, { etag })) return reply.code(304).send();
  return reply.type('application/json; charset=utf-8').send(body);
}
