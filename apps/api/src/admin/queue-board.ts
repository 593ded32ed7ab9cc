/** Bull Board: the queue and what each job carries, at /admin/queues, behind the operator's login. */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { FastifyPluginAsync } from 'fastify';

const BOARD_PATH = '/admin/queues';

export const queueBoard: FastifyPluginAsync<{ queue: Pick<OrderQueue, 'bullQueue'> }> = async (app, { queue }) => {
  app.addHook('onRequest', app.requireOperatorOrLogin);
  // Looking, retrying, pausing and removing are harmless: reservations and the ledger decide, and the sweep mends the rest. A
  // job that was written by hand would be confirmed although nobody reserved its units.
  app.addHook('onRequest', async (request, reply) => {
    const { method, routeOptions } = request;
    const rewrites = method === 'POST' || method === 'PATCH';
    const endsTheQueue = method === 'PUT' && /\/(obliterate|rate-limit|concurrency)$/.test(routeOptions.url ?? '');
    return rewrites || endsTheQueue ? reply.problem('JOBS_COME_FROM_ORDERS') : undefined;
  });
  const board = new FastifyAdapter();
  board.setBasePath(BOARD_PATH);
  createBullBoard({
    queues: [new BullMQAdapter(queue.bullQueue)],
    serverAdapter: board,
    options: { uiConfig: { boardTitle: 'Flash sale' } },
  });
  await app.register(board.registerPlugin(), { prefix: BOARD_PATH });
};
