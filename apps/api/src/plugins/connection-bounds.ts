/**
 * What connections may take of this process: how many there may be, and how many requests each may send without waiting.
 * How long they may take, and how long their headers may be, stands in the server's options (app.ts).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { PIPELINED_MAX } from '@flash-sale/core/config/limits.ts';
import fp from 'fastify-plugin';

/** Under which a connection counts its requests whose answers have not left. */
const unanswered = Symbol('unanswered');
/** The answer to the request that came last, as long as one of the two is under way. */
const latest = Symbol('latest');
interface Connection extends Socket {
  [unanswered]?: number;
  [latest]?: ServerResponse | undefined;
}

/**
 * Whether what is said now would be taken for the answer to the bytes that cannot be read: nobody before still waits for his, and the request
 * that they belong to has none yet. A second answer would be taken for that to the next request, by a proxy for somebody else's.
 */
export function canBeTold(socket: Socket): boolean {
  const { [unanswered]: waiting = 0, [latest]: last } = socket as Connection;
  if (last === undefined || last.req.complete) return waiting === 0;
  return waiting === 1 && !last.headersSent;
}

export default fp<{ most: number }>(
  async (app, { most }) => {
    app.server.maxConnections = most;
    app.server.on('drop', () => app.countRefusal('CONNECTION_DROPPED'));

    let closing = false;
    app.addHook('preClose', async () => {
      closing = true;
    });
    /** One function for all: a closure for each request is what a crowd pays for. */
    function countAnswer(this: ServerResponse): void {
      const connection: Connection = this.req.socket;
      const left = (connection[unanswered] ?? 1) - 1;
      connection[unanswered] = left;
      if (this.req.complete && connection[latest] === this) connection[latest] = undefined;
      // Node closes those that are idle as the server closes. One whose answer was still being made would stay for KEEP_ALIVE_TIMEOUT_MS.
      if (closing && left === 0) connection.end();
    }

    // In front of the router: what was read together with the request that was one too many is up to 1,400 more of them, and nobody is
    // there to be answered. Routing each would take seconds from everybody else.
    const [route] = app.server.listeners('request') as [(request: IncomingMessage, response: ServerResponse) => void];
    app.server.removeListener('request', route);
    app.server.on('request', (request, response) => {
      const connection: Connection = request.socket;
      if (connection.destroyed) return;
      const count = (connection[unanswered] ?? 0) + 1;
      if (count > PIPELINED_MAX) {
        app.countRefusal('CONNECTION_FLOODED');
        connection.destroy();
        return;
      }
      connection[unanswered] = count;
      connection[latest] = response;
      response.on('finish', countAnswer);
      route.call(app.server, request, response);
    });
  },
  { name: 'connection-bounds', dependencies: ['refusal-count'] },
);
