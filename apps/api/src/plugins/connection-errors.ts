/** Responds to malformed requests: unparsable bytes, headers that are too long or too slow. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { newRequestId } from '../request-ids.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { canAnswer } from './connection-bounds.ts';
import { problemBody } from './problems.ts';

/** Milliseconds that a connection stays open after the response, so that the response arrives. */
export const CONNECTION_LINGER_MS = 500;

/** Connections that got their response and will be destroyed. */
const lingering = new WeakSet<Socket>();

/**
 * Sends a problem if the client can match it to these bytes (canAnswer), then closes the
 * connection.
 */
export function sendConnectionError(error: Error & { code?: string }, socket: Socket): void {
  // Discard what follows: it belongs to the same bad request.
  if (lingering.has(socket)) return;
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  socket.end(canAnswer(socket) ? rawProblem(error.code) : '');
  // Destroy it later: the client may keep its half open, and Node reports a slow connection only
  // once.
  lingering.add(socket);
  const cut = setTimeout(() => socket.destroy(), CONNECTION_LINGER_MS).unref();
  socket.once('close', () => clearTimeout(cut));
}

const codes = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TOO_SLOW',
} as const;

const rawHeaders = Object.entries(ANSWER_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');

/** @returns a whole HTTP response */
function rawProblem(error: string | undefined): string {
  const body = problemBody(codes[error as keyof typeof codes] ?? 'INVALID_REQUEST', newRequestId(), {});
  const text = JSON.stringify(body);
  return (
    `HTTP/1.1 ${body.status} ${STATUS_CODES[body.status]}\r\nContent-Type: application/problem+json\r\n${rawHeaders}` +
    `Content-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`
  );
}
