/** Counts refusals and sums them up in a line now and then: a refusal must not cost a line of its own. */
import { REFUSAL_SUMMARY_MS } from '@flash-sale/core/limits.ts';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyInstance {
    countRefusal(code: string): void;
  }
}

export default fp<{ count: (code: string) => void }>(
  async (app, { count }) => {
    let counts: Record<string, number> = {};
    const sumUp = (): void => {
      if (Object.keys(counts).length > 0) app.log.info({ refusals: counts }, 'refused since the last summary');
      counts = {};
    };
    const timer = setInterval(sumUp, REFUSAL_SUMMARY_MS).unref();
    app.decorate('countRefusal', (code: string) => {
      counts[code] = (counts[code] ?? 0) + 1;
      count(code);
    });
    app.addHook('onClose', async () => {
      clearInterval(timer);
      sumUp();
    });
  },
  { name: 'refusal-count' },
);
