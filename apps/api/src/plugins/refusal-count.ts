/**
 * Counts refusals and logs a periodic summary: a line per refusal would cost more than the refusal.
 */
import type { Metrics } from '@flash-sale/core/runtime/metrics.ts';
import fp from 'fastify-plugin';
import { problemCodes } from './problems.ts';

declare module 'fastify' {
  interface FastifyInstance {
    countRefusal(code: string): void;
  }
}

/** Milliseconds between two summaries. */
const REFUSAL_SUMMARY_MS = 10_000;
/** Connections that were closed without an answer (connection-bounds.ts). */
const CLOSED = ['CONNECTION_DROPPED', 'CONNECTION_FLOODED'];

export default fp<Pick<Metrics, 'countRefusal' | 'expectRefusals'>>(
  async (app, { countRefusal, expectRefusals }) => {
    expectRefusals([...problemCodes, ...CLOSED]);
    let counts: Record<string, number> = {};
    const logSummary = (): void => {
      if (Object.keys(counts).length > 0) app.log.info({ refusals: counts }, 'refused since the last summary');
      counts = {};
    };
    const timer = setInterval(logSummary, REFUSAL_SUMMARY_MS).unref();
    app.decorate('countRefusal', (code: string) => {
      counts[code] = (counts[code] ?? 0) + 1;
      countRefusal(code);
    });
    app.addHook('onClose', async () => {
      clearInterval(timer);
      logSummary();
    });
  },
  { name: 'refusal-count' },
);
