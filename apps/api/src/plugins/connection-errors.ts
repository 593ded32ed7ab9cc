/** Answers what is not a request: bytes that cannot be parsed, headers that are too long or too slow. */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { newRequestId } from '../request-ids.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { canAnswer } from './connection-bounds.ts';
import { problemBody } from './problems.ts';

/** Milliseconds that a connection stays open after its answer, so that the answer arrives. */
export const CONNECTION_LINGER_MS = 500;

/** Connections that have their answer and are about to be cut. */
const lingering = new WeakSet<Socket>();

/** Sends a problem where the client would take it for the answer to these bytes, then cuts the connection. */
export function sendConnectionError(error: Error & { code?: string }, socket: Socket): void {
  // What follows the answer belongs to the same bad request: it is discarded until the cut.
  if (lingering.has(socket)) return;
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  socket.end(canAnswer(socket) ? rawProblem(error.code) : '');
  // The client may keep its half open, and Node reports a slow connection only once.
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
