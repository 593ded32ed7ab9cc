/**
 * Limits the number of connections, and of pipelined requests on each of them, and decides which
 * request of a connection is the last: a later one is not run, because its answer could not be
 * sent. Timeouts and header sizes are in the server options (app.ts).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import fp from 'fastify-plugin';
import { sendConnectionError, sendRawProblem } from './connection-errors.ts';
import { type Connection, endConnection, takeNoMore } from './connection-state.ts';
import { checkFraming } from './framing.ts';

/**
 * Pipelined requests per connection. Browsers and proxies wait for each response. A thousand small
 * requests fit into one read, and their unread responses would take 40 MB.
 */
export const PIPELINED_MAX = 32;

/** @param options.most connections of this process */
export default fp<{ most: number }>(
  async (app, { most }) => {
    app.server.maxConnections = most;
    app.server.on('drop', () => app.countRefusal('CONNECTION_DROPPED'));
    // A client that closes its half after sending still gets its answers.
    Object.assign(app.server, { httpAllowHalfOpen: true });

    let closing = false;
    app.addHook('preClose', async () => {
      closing = true;
    });

    /** One function for all responses, because a closure per request costs CPU time. */
    function countAnswer(this: ServerResponse): void {
      const connection: Connection = this.req.socket;
      const left = (connection.unanswered ?? 1) - 1;
      connection.unanswered = left;
      if (this.req.complete && connection.latest === this) connection.latest = undefined;
      // On close, Node closes idle connections only; a busy one would stay for
      // KEEP_ALIVE_TIMEOUT_MS.
      if (left === 0 && (closing || connection.isEnding || connection.isExpecting)) endConnection(connection);
    }

    // In front of the router: one read may contain 1,400 requests, and routing them delays other
    // clients.
    const [route] = app.server.listeners('request') as [(request: IncomingMessage, response: ServerResponse) => void];
    app.server.removeListener('request', route);
    function admit(request: IncomingMessage, response: ServerResponse): void {
      const connection: Connection = request.socket;
      if (connection.isEnding || connection.isExpecting || !connection.writable) return;
      const count = (connection.unanswered ?? 0) + 1;
      if (count > PIPELINED_MAX) {
        app.countRefusal('CONNECTION_FLOODED');
        takeNoMore(connection);
        return;
      }
      connection.unanswered = count;
      connection.latest = response;
      response.on('finish', countAnswer);
      const fault = checkFraming(request);
      const { upgrade, expect } = request.headers;
      // Node drops what it has read behind an upgrade.
      connection.isEnding = fault !== null || upgrade !== undefined || app.isDraining();
      // Unless the body is asked for, it may follow or not.
      connection.isExpecting = expect !== undefined;
      if (connection.isEnding || connection.isExpecting) response.setHeader('connection', 'close');
      if (fault === null) return void route.call(app.server, request, response);
      app.countRefusal(fault.code);
      sendRawProblem(response, fault);
    }
    app.server.on('request', admit);
    app.server.on('checkContinue', (request, response) => {
      // Once the body is wanted: not in front of a 401.
      request.once('resume', () => {
        if (response.headersSent) return;
        response.writeContinue();
        const connection: Connection = request.socket;
        // A request behind a complete one may have been dropped.
        if (request.complete || connection.isEnding) return;
        connection.isExpecting = false;
        response.removeHeader('connection');
      });
      admit(request, response);
    });
    app.server.on('checkExpectation', admit);
    app.server.on('connect', (_request, socket: Socket) => {
      // Node has removed its listeners.
      socket.on('error', () => socket.destroy()).resume();
      sendConnectionError(new Error('CONNECT'), socket);
    });
  },
  { name: 'connection-bounds', dependencies: ['refusal-count', 'drain'] },
);
