/** Counts and times what each route answers, by its kind and by the code of a problem or the class of a status. */
import type { AnswerKind } from '@flash-sale/core/runtime/metrics.ts';
import fp from 'fastify-plugin';

/** @returns what is told of each answer of a route: kind, outcome, and ms until it was made */
type AnswersOf = (route: string) => (kind: AnswerKind, outcome: string, ms: number) => void;

/** Many routes of one thing that is looked at by people. */
const together = ['/admin/', '/docs'];

const classes = ['', '1xx', '2xx', '3xx', '4xx', '5xx'];

function kindOf(status: number, code: string | null | undefined): AnswerKind {
  if (status < 400) return 'answered';
  if (status < 500) return 'refused';
  return code === 'OVERLOADED' ? 'shed' : 'fault';
}

export default fp<{ answersOf: AnswersOf }>(
  async (app, { answersOf }) => {
    // A function for each route as it is made: asking a request for its route makes an object each time.
    app.addHook('onRoute', (route) => {
      // The framework makes these beside those for GET, with their hooks.
      if (route.method === 'HEAD') return;
      const many = together.find((path) => route.url.startsWith(path));
      const count = answersOf(many ? `${many}*` : `${[route.method].flat().join(',')} ${route.url}`);
      route.onSend = [
        ...[route.onSend ?? []].flat(),
        (_request, reply, _payload, next) => {
          const { problemCode, statusCode } = reply;
          const outcome = problemCode ?? (classes[Math.trunc(statusCode / 100)] as string);
          count(kindOf(statusCode, problemCode), outcome, reply.elapsedTime);
          next();
        },
      ];
    });
  },
  { name: 'answer-count' },
);
