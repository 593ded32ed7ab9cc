/** Times what each route answers, by kind of answer. */
import type { AnswerKind, Metrics } from '@flash-sale/core/runtime/metrics.ts';
import fp from 'fastify-plugin';

/** Paths of many routes that share one label: pages for people. */
const SHARED = ['/admin/', '/docs'];

export default fp<Pick<Metrics, 'timeRequests'>>(
  async (app, { timeRequests }) => {
    // One function per route, made at registration: request.routeOptions would make an object for every request.
    app.addHook('onRoute', (route) => {
      // Fastify adds a HEAD route to each GET route, with the same hooks.
      if (route.method === 'HEAD') return;
      const shared = SHARED.find((path) => route.url.startsWith(path));
      const time = timeRequests(shared ? `${shared}*` : `${[route.method].flat().join(',')} ${route.url}`);
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
