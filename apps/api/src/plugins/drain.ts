/**
 * The way out of service. A process that is told to stop first says that it is not ready, and goes on serving for a while: whoever balances asks
 * now and then only, and would send buyers to a listener that has closed. Meanwhile each answer asks its client to close the connection,
 * so that none of them is closed while a request is on its way.
 */
import type { ServerResponse } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    isDraining(): boolean;
    /** From now on not ready. @param ms milliseconds that it is served for; 0: not at all. @returns when they are over */
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
      // Added only now: a hook would be paid for by every request before.
      app.server.prependListener('request', askToClose);
      app.log.info({ drainMs: ms }, 'not ready any more, and serving on');
      await pause(ms);
    });
  },
  { name: 'drain' },
);
