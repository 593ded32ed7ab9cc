/**
 * Baseline of the bench: a bare Fastify that validates the same POST request and sends a reply of
 * the same shape. Like the API it runs in production mode with pino at level info and no request
 * log.
 */
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import fastify, { LogController } from 'fastify';

const app = fastify({
  loggerInstance: createLogger('bare', 'info'),
  logController: new LogController({ disableRequestLogging: true }),
});
const reply = {
  order_id: 'bench-01M84FV0GBEWEG3KFY5RHQXVFB',
  status: 'accepted',
  product_id: 'bench',
  quantity: 1,
  remaining: 1_000_000,
};
const replyProperties = Object.fromEntries(
  Object.entries(reply).map(([name, value]) => [name, { type: typeof value === 'number' ? 'integer' : 'string' }]),
);
const schema = {
  body: { type: 'object', properties: { quantity: { type: 'integer', minimum: 1 } } },
  response: { 200: { type: 'object', properties: replyProperties } },
};
app.post('/api/flash-sales/:product_id/order', { schema }, async () => reply);

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT), backlog: 4_096 });
process.on('SIGTERM', () => void app.close().then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
