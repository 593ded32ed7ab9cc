/**
 * Graceful shutdown. The process first reports not ready and keeps serving until load balancers
 * have noticed. Each response has `Connection: close` (connection-bounds.ts), so that clients close
 * idle connections and no connection is closed while a request arrives.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    /** Also while it closes. */
    isDraining(): boolean;
    /** Reports not ready from now on. Resolves after `ms`, during which requests are served. */
    drain(ms: number): Promise<void>;
  }
}

export default fp(
  async (app) => {
    let draining = false;
    app.decorate('isDraining', () => draining);
    app.decorate('drain', async (ms: number) => {
      draining = true;
      if (ms === 0) return;
      app.log.info({ drainMs: ms }, 'not ready any more; still serving');
      await sleep(ms);
    });
    app.addHook('preClose', async () => {
      draining = true;
    });
  },
  { name: 'drain' },
);
