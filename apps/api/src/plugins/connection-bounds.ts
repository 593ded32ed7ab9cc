/**
 * Bounds of a connection: how many there may be, and how many requests each may send without waiting.
 * How long it may take and how long headers may be is in the server options (app.ts).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import fp from 'fastify-plugin';

/**
 * Pipelined requests of one connection. Browsers and proxies wait for each answer; a thousand small
 * requests fit into one read and would hold 40 MB of answers that nobody reads.
 */
export const PIPELINED_MAX = 32;

/** Requests of this connection that are not answered yet. */
const unanswered = Symbol('unanswered');
/** The response to the last request, while either of the two is under way. */
const latest = Symbol('latest');
interface Connection extends Socket {
  [unanswered]?: number;
  [latest]?: ServerResponse | undefined;
}

/**
 * Whether the client would take an answer sent now for the one to the bytes that cannot be parsed: no
 * earlier request waits, and theirs has no answer. A second answer would be taken, by a proxy for
 * somebody else, for the answer to the next request.
 */
export function canAnswer(socket: Socket): boolean {
  const { [unanswered]: waiting = 0, [latest]: last } = socket as Connection;
  if (last === undefined || last.req.complete) return waiting === 0;
  return waiting === 1 && !last.headersSent;
}

/** @param options.most connections of this process */
export default fp<{ most: number }>(
  async (app, { most }) => {
    app.server.maxConnections = most;
    app.server.on('drop', () => app.countRefusal('CONNECTION_DROPPED'));

    let closing = false;
    app.addHook('preClose', async () => {
      closing = true;
    });

    /** One function for all responses: a closure per request would cost every order. */
    function countAnswer(this: ServerResponse): void {
      const connection: Connection = this.req.socket;
      const left = (connection[unanswered] ?? 1) - 1;
      connection[unanswered] = left;
      if (this.req.complete && connection[latest] === this) connection[latest] = undefined;
      // Node closes idle connections when the server closes; one with an answer under way would stay for KEEP_ALIVE_TIMEOUT_MS.
      if (closing && left === 0) connection.end();
    }

    // In front of the router: one read may hold 1,400 more requests of a flood, and routing them delays everybody.
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
