/** Counts refusals and sums them up in a line now and then: a refusal must not cost a line of its own. */
import { REFUSAL_SUMMARY_MS } from '@flash-sale/core/config/limits.ts';
import fp from 'fastify-plugin';
import { problemCodes } from './problems.ts';

declare module 'fastify' {
  interface FastifyInstance {
    countRefusal(code: string): void;
  }
}

/** Codes of connections that were closed without an answer (connection-bounds.ts). */
const CLOSED = ['CONNECTION_DROPPED', 'CONNECTION_FLOODED'];

export default fp<{ count: (code: string) => void; expect: (codes: readonly string[]) => void }>(
  async (app, { count, expect }) => {
    expect([...problemCodes, ...CLOSED]);
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
