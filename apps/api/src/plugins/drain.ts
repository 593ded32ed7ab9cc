/**
 * Graceful stop. A stopping process first reports not ready and still serves for a while, because load
 * balancers probe only now and then. Each answer asks its client to close the connection, so that none
 * is closed with a request on the way.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    isDraining(): boolean;
    /** Reports not ready from now on. @param ms milliseconds to keep serving; resolves when they are over */
    drain(ms: number): Promise<void>;
  }
}

const askToClose = (_request: unknown, response: ServerResponse): void =>
  void response.setHeader('connection', 'close');

export default fp(
  async (app) => {
    let draining = false;
    app.decorate('isDraining', () => draining);
    app.decorate('drain', async (ms: number) => {
      draining = true;
      if (ms === 0) return;
      // Added only now: earlier, every request would pay for it.
      app.server.prependListener('request', askToClose);
      app.log.info({ drainMs: ms }, 'not ready any more; still serving');
      await sleep(ms);
    });
  },
  { name: 'drain' },
);
