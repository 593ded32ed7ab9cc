/** Which requests of a connection wait for a response, and which one is the last. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Milliseconds that a connection stays open after the response, so that the response arrives. */
export const CONNECTION_LINGER_MS = 500;

export interface Connection extends Socket {
  /** Number of unanswered requests. */
  unanswered?: number;
  /** Response to the last request, until both are complete. */
  latest?: ServerResponse | undefined;
  /** No further request is run. */
  isEnding?: boolean;
  /** The same, unless 100 Continue is sent. */
  isExpecting?: boolean;
}

/** Bodies that could not be received, and why. */
const failures = new WeakMap<IncomingMessage, Error>();

/** Runs no further request of this connection, and ends it when the earlier ones are answered. */
export function takeNoMore(connection: Connection): void {
  connection.isEnding = true;
  if ((connection.unanswered ?? 0) === 0) endConnection(connection);
}

/**
 * Destroys the connection later, not at once: bytes that the server has not read would reset it,
 * and the client might lose the response.
 *
 * @param text sent before
 */
export function endConnection(connection: Connection, text = ''): void {
  connection.isEnding = true;
  if (!connection.writable) return;
  connection.end(text);
  const cut = setTimeout(() => connection.destroy(), CONNECTION_LINGER_MS).unref();
  connection.once('close', () => clearTimeout(cut));
}

/** Lets the handler of this request answer that its body could not be received. */
export function failBody(request: IncomingMessage, error: Error): void {
  failures.set(request, error);
  // Without a listener, an error would end the process.
  if (request.listenerCount('error') > 0) request.emit('error', error);
}

export function bodyFailure(request: IncomingMessage): Error | undefined {
  return failures.get(request);
}
