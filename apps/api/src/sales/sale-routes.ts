/** What is on offer. Anybody may look, and looking takes nothing; a CDN may look for many. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { SALE_CDN_S } from '@flash-sale/core/config/limits.ts';
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fresh from 'fresh';
import type { SaleReader } from './read-sales.ts';
import type { SaleAnswer } from './sale-answer.ts';
import { ListSalesSchema, ReadSaleSchema } from './sale-contract.ts';

const saleIdPattern = new RegExp(SALE_ID_PATTERN);

/** Browsers ask each time, or their second would come on top of the CDN's. s-maxage also forbids a CDN to tell what is older. */
const FOR_CDN = `public, max-age=0, s-maxage=${SALE_CDN_S}`;

export const saleRoutes: FastifyPluginAsyncTypebox<{ saleReader: SaleReader }> = async (app, { saleReader }) => {
  app.get('/api/flash-sales', { schema: ListSalesSchema }, async (request, reply) =>
    sendAnswer(request, reply, await saleReader.list()),
  );

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
  // 0, but where the inventory took a second to answer: then a CDN must not add one of its own.
  reply.header('age', Math.floor((performance.now() - askedAt) / 1000));
  // Only this header: `Cache-Control: no-cache`, which fetch() sends beside it, is a word to caches, and this is none.
  const known = request.headers['if-none-match'];
  if (known !== undefined && fresh({ 'if-none-match': known }, { etag })) return reply.code(304).send();
  return reply.type('application/json; charset=utf-8').send(body);
}
