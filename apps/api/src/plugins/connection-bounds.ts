/**
 * Limits the number of connections, and of pipelined requests on each of them. Timeouts and header
 * sizes are in the server options (app.ts).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import fp from 'fastify-plugin';

/**
 * Pipelined requests per connection. Browsers and proxies wait for each response. A thousand small
 * requests fit into one read, and their unread responses would take 40 MB.
 */
export const PIPELINED_MAX = 32;

/** Number of unanswered requests of this connection. */
const unanswered = Symbol('unanswered');
/** Response to the last request, until both are complete. */
const latest = Symbol('latest');
interface Connection extends Socket {
  [unanswered]?: number;
  [latest]?: ServerResponse | undefined;
}

/**
 * Whether a response sent now belongs to the bytes that cannot be parsed: no earlier request waits
 * for a response, and theirs has none. Otherwise a proxy could pass the extra response to another
 * client (response desynchronisation).
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

    /** One function for all responses, because a closure per request costs CPU time. */
    function countAnswer(this: ServerResponse): void {
      const connection: Connection = this.req.socket;
      const left = (connection[unanswered] ?? 1) - 1;
      connection[unanswered] = left;
      if (this.req.complete && connection[latest] === this) connection[latest] = undefined;
      // On close, Node closes idle connections only; a busy one would stay for
      // KEEP_ALIVE_TIMEOUT_MS.
      if (closing && left === 0) connection.end();
    }

    // In front of the router: one read may contain 1,400 requests, and routing them delays other
    // clients.
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
