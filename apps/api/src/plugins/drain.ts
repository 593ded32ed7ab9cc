/**
 * Graceful shutdown. The process first reports not ready and keeps serving until load balancers
 * have noticed. Each response has `Connection: close`, so that clients close idle connections and
 * no connection is closed while a request arrives.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    isDraining(): boolean;
    /** Reports not ready from now on. Resolves after `ms`, during which requests are served. */
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
      // Added here, so that requests before the drain do not pay for it.
      app.server.prependListener('request', askToClose);
      app.log.info({ drainMs: ms }, 'not ready any more; still serving');
      await sleep(ms);
    });
  },
  { name: 'drain' },
);
