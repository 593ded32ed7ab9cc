/**
 * Creates a span for each sampled request. Without tracing there is no hook, and `trace` is null.
 */
import type { TraceSpan, Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyRequest {
    /** null: not sampled. */
    trace: TraceSpan | null;
  }
}

export default fp<{ tracing: Tracing | null }>(
  async (app, { tracing }) => {
    app.decorateRequest('trace', null);
    if (tracing === null) return;
    app.addHook('onRequest', (request, _reply, next) => {
      const route = request.routeOptions.url;
      if (!route?.startsWith('/api/')) return next();
      const { product_id: saleId } = request.params as { product_id?: string };
      request.trace = tracing.receive(`${request.method} ${route}`, request.headers.traceparent, {
        'http.request.method': request.method,
        'http.route': route,
        'flash_sale.request_id': request.id,
        ...(saleId === undefined ? {} : { 'flash_sale.sale_id': saleId }),
      });
      next();
    });
    app.addHook('onResponse', (request, reply, next) => {
      request.trace?.note({ 'http.response.status_code': reply.statusCode });
      request.trace?.end();
      next();
    });
  },
  { name: 'request-trace' },
);
