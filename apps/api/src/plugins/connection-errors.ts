/** Responds to malformed requests: unparsable bytes, headers that are too long or too slow. */
import { type ServerResponse, STATUS_CODES } from 'node:http';
import { newRequestId } from '../request-ids.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { type Connection, endConnection, failBody, takeNoMore } from './connection-state.ts';
import type { Fault } from './framing.ts';
import { type ProblemCode, ProblemError, problemBody } from './problems.ts';

/** Of Node's parser, with the bytes that it read last. */
type ParserError = Error & { code?: string | undefined; rawPacket?: unknown };

/**
 * Sends a problem if the client can match it to these bytes: no earlier request waits for a
 * response, and theirs has none. Otherwise a proxy could pass the extra response to another client
 * (response desynchronisation). Then ends the connection, after the responses that are due.
 */
export function sendConnectionError(error: ParserError, connection: Connection): void {
  const { latest, unanswered = 0 } = connection;
  if (error.code === 'ECONNRESET' || (!connection.writable && !connection.isEnding)) {
    connection.destroy();
    return;
  }
  /** The bytes belong to its body. */
  const request = latest?.req.complete === false ? latest.req : null;
  if (unanswered > 0) {
    takeNoMore(connection);
    if (request !== null) failBody(request, new ProblemError(codeOf(error)));
  } else if (!connection.isEnding) endConnection(connection, request === null ? rawProblem(codeOf(error)) : '');
}

const codes = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'BODY_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TOO_SLOW',
} as const satisfies Record<string, ProblemCode>;

function codeOf({ code, rawPacket }: ParserError): ProblemCode {
  const found = codes[code as keyof typeof codes] ?? 'INVALID_REQUEST';
  // The parser does not say what was too long.
  const isUri = found === 'HEADERS_TOO_LARGE' && /^[A-Z]+ \S{8000}/.test(String(rawPacket));
  return isUri ? 'URI_TOO_LONG' : found;
}

const rawHeaders = Object.entries({
  'content-type': 'application/problem+json',
  ...ANSWER_HEADERS,
  connection: 'close',
});

/** @returns a whole HTTP response */
function rawProblem(code: ProblemCode): string {
  const body = problemBody(code, newRequestId(), {});
  const text = JSON.stringify(body);
  const headers = [...rawHeaders, ['content-length', Buffer.byteLength(text)]];
  if (body.retryable) headers.push(['retry-after', 1]);
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 ${body.status} ${STATUS_CODES[body.status]}\r\n${lines}\r\n${text}`;
}

/** Answers a request that is not routed. */
export function sendRawProblem(response: ServerResponse, { code, ...fields }: Fault): void {
  const body = problemBody(code, newRequestId(), fields);
  response.writeHead(body.status, Object.fromEntries(rawHeaders)).end(JSON.stringify(body));
}
