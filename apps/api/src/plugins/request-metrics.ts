/** Measures the duration of requests by route and kind of response. */
import type { AnswerKind, Metrics } from '@flash-sale/core/runtime/metrics.ts';
import fp from 'fastify-plugin';

/** Pages are not measured: they answer outside of Fastify's hooks. */
const PAGES = ['/admin/', '/docs'];

export default fp<Pick<Metrics, 'timeRequests'>>(
  async (app, { timeRequests }) => {
    // One function per route: request.routeOptions would allocate an object per request.
    app.addHook('onRoute', (route) => {
      // Fastify adds a HEAD route to each GET route, with the same hooks.
      if (route.method === 'HEAD' || PAGES.some((path) => route.url.startsWith(path))) return;
      const time = timeRequests(`${[route.method].flat().join(',')} ${route.url}`);
      route.onSend = [
        ...[route.onSend ?? []].flat(),
        (_request, reply, _payload, next) => {
          time(kindOf(reply.statusCode, reply.problemCode), reply.elapsedTime);
          next();
        },
      ];
    });
  },
  { name: 'request-metrics' },
);

function kindOf(status: number, code: string | null | undefined): AnswerKind {
  if (status < 400) return 'answered';
  if (status < 500) return 'refused';
  return code === 'OVERLOADED' ? 'shed' : 'fault';
}
