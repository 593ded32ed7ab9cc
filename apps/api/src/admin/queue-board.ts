/** Bull Board: the queue and what each job carries, to look at, at /admin/queues, behind the operator's login. */
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { FastifyAdapter } from '@bull-board/fastify';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { FastifyPluginAsync } from 'fastify';
import { addPageHeaders, boundPages } from '../plugins/page-headers.ts';

const BOARD_PATH = '/admin/queues';

export const queueBoard: FastifyPluginAsync<{ queue: Pick<OrderQueue, 'bullQueue'> }> = async (app, { queue }) => {
  await addPageHeaders(app);
  app.addHook('onRequest', app.requireOperatorOrLogin);
  // Behind the login: strangers must not take an operator's place.
  boundPages(app);
  // It shows. What a job needs is done by the reaper, changes of stock have their own routes with a record of who did it, and a
  // login that a browser sends along by itself can do nothing in the name of another site.
  app.addHook('onRequest', async (request, reply) => {
    return request.method === 'GET' || request.method === 'HEAD' ? undefined : reply.problem('BOARD_IS_READ_ONLY');
  });
  const board = new FastifyAdapter();
  board.setBasePath(BOARD_PATH);
  createBullBoard({
    queues: [new BullMQAdapter(queue.bullQueue, { readOnlyMode: true })],
    serverAdapter: board,
    options: { uiConfig: { boardTitle: 'Flash sale' } },
  });
  await app.register(board.registerPlugin(), { prefix: BOARD_PATH });
};
