/** Bull Board at /admin/queues: the queue and its jobs, read-only, behind the operator's login. */
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import { lazyPages } from './lazy-pages.ts';

const BOARD_PATH = '/admin/queues';

export const queueBoard: FastifyPluginAsync<{ queue: Pick<OrderQueue, 'bullQueue'> }> = async (app, { queue }) => {
  // Before the limit of lazyPages, so that unauthenticated requests do not count in it.
  app.addHook('onRequest', app.requireOperatorOrLogin);
  lazyPages(app, { path: BOARD_PATH, files: `${BOARD_PATH}/static/`, build });
  async function build(pages: FastifyInstance): Promise<void> {
    const [{ createBullBoard }, { BullMQAdapter }, { FastifyAdapter }] = await Promise.all([
      import('@bull-board/api'),
      import('@bull-board/api/bullMQAdapter'),
      import('@bull-board/fastify'),
    ]);
    const board = new FastifyAdapter();
    board.setBasePath(BOARD_PATH);
    createBullBoard({
      queues: [new BullMQAdapter(queue.bullQueue, { readOnlyMode: true })],
      serverAdapter: board,
      options: { uiConfig: { boardTitle: 'Flash sale' } },
    });
    // To the error handler of all pages: its own sends the stack.
    board.setErrorHandler((error) => {
      throw error;
    });
    await pages.register(board.registerPlugin(), { prefix: BOARD_PATH });
  }
  // Against CSRF: browsers send the login automatically, also for requests of other sites.
  app.route({
    method: ['POST', 'PUT', 'PATCH', 'DELETE'],
    url: `${BOARD_PATH}/*`,
    schema: { hide: true },
    handler: async (_request, reply) => reply.problem('BOARD_IS_READ_ONLY'),
  });
};
