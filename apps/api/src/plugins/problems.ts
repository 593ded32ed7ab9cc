/**
 * The only file that maps outcomes to HTTP statuses. Every refusal and every fault leaves as application/problem+json
 * (RFC 9457) with a stable `code` and `retryable`: whether the same request can succeed later.
 */
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { CONNECTION_LINGER_MS } from '@flash-sale/core/config/limits.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { newRequestId } from '../request-ids.ts';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { canBeTold } from './connection-bounds.ts';

const table = {
  INVALID_REQUEST: [400, false, 'The request does not have the form that this route expects.'],
  INVALID_BUYER: [400, false, 'X-User-ID must be 1 to 128 printable ASCII characters without spaces.'],
  INVALID_IDEMPOTENCY_KEY: [
    400,
    false,
    'Idempotency-Key must be 1 to 128 printable ASCII characters, in quotes or bare.',
  ],
  SALE_NOT_OPEN: [400, true, 'The sale has not begun.'],
  SALE_PAUSED: [400, true, 'The sale is paused.'],
  SALE_ENDED: [400, false, 'The sale is over.'],
  SOLD_OUT: [400, true, 'Every unit is taken.'],
  NOT_ENOUGH_UNITS: [400, true, 'Fewer units are left than were asked for. Nothing was taken.'],
  BUYER_LIMIT: [400, false, 'The order would take the buyer over the number of units that one buyer may hold.'],
  BUYER_REQUIRED: [
    401,
    false,
    'Say who is buying: with Authorization: Bearer <token>, or with X-User-ID behind a gateway.',
  ],
  INVALID_TOKEN: [401, false, 'This token is none that this system believes.'],
  TOKEN_EXPIRED: [401, false, 'This token has expired. Get a new one, and send the same request with it.'],
  OPERATOR_REQUIRED: [
    401,
    false,
    "This needs the operator's token: Authorization: Bearer <ADMIN_TOKEN>; on the board the login admin with the token as its password.",
  ],
  BOARD_IS_READ_ONLY: [403, false, 'The board shows the queue. What a job needs is done by the reaper.'],
  NOT_FOUND: [404, false, 'There is nothing at this address.'],
  SALE_NOT_FOUND: [404, false, 'There is no such sale.'],
  ORDER_NOT_FOUND: [404, false, 'There is no such order of this buyer.'],
  SALE_EXISTS: [409, false, 'A sale of this id exists. It was left as it is.'],
  UNITS_PROMISED: [409, false, 'The change would take units that buyers were promised. Nothing was changed.'],
  TOO_MANY_UNITS: [409, false, 'The sale would have more units than the system allows. Nothing was changed.'],
  REQUEST_TOO_SLOW: [408, true, 'The request did not arrive in time.'],
  CHANGE_ID_TAKEN: [409, false, 'Another change of stock has this change_id. Nothing was changed.'],
  BODY_TOO_LARGE: [413, false, 'The body is too large.'],
  UNSUPPORTED_MEDIA_TYPE: [415, false, 'Send the body as application/json, or send none.'],
  IDEMPOTENCY_KEY_REUSED: [
    422,
    false,
    'This Idempotency-Key belongs to an order with another body. Nothing was taken.',
  ],
  HEADERS_TOO_LARGE: [431, false, 'The headers are too large.'],
  BUYER_RATE_LIMITED: [429, true, 'This buyer asks too often.'],
  SYSTEM_RATE_LIMITED: [429, true, 'More orders arrive than the system lets through in a second.'],
  ADDRESS_RATE_LIMITED: [429, true, 'Too many requests come from this address.'],
  INTERNAL: [500, true, 'Something broke on our side. The request id leads to the line in the log.'],
  OVERLOADED: [503, true, 'More requests arrive than this process can answer. Nothing was taken.'],
  IDENTITY_UNAVAILABLE: [503, true, 'This token cannot be verified now: its key cannot be had. Nothing was taken.'],
  INVENTORY_UNAVAILABLE: [503, true, 'The stock cannot be reached.'],
  LEDGER_BEHIND: [503, true, 'Too many orders of this sale wait to be written down. Nothing was taken.'],
  LEDGER_UNAVAILABLE: [503, true, 'The ledger cannot be reached.'],
  SALE_RECOVERING: [503, true, "The sale's stock is being brought up."],
  STOCK_CHANGE_PENDING: [
    503,
    false,
    'The change is written down and will be carried out within seconds of the stock being back. Ask again only with its change_id.',
  ],
  OUTCOME_UNKNOWN: [
    503,
    false,
    'The stock did not answer in time: the order may have been taken. Ask for it by its order_id before ordering again.',
  ],
} as const satisfies Record<string, readonly [number, boolean, string]>;

export type ProblemCode = keyof typeof table;

/** Every code that a refusal or a fault may have. */
export const problemCodes = Object.keys(table) as ProblemCode[];

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'URN of the code.' }),
    title: Type.String({ description: "The status' name." }),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable word for programs.' }),
    detail: Type.String({ description: 'Sentence for people.' }),
    retryable: Type.Boolean({ description: 'Whether the same request can succeed later.' }),
    request_id: Type.String({ description: 'Leads to the lines in the log.' }),
    order_id: Type.Optional(Type.String({ description: 'The order that may have been taken.' })),
    change_id: Type.Optional(Type.String({ description: 'The change of stock that this is about.' })),
    available: Type.Optional(Type.Integer({ description: 'Units that are left.' })),
    holds: Type.Optional(Type.Integer({ description: 'Units that the buyer holds.' })),
    retry_after_ms: Type.Optional(Type.Integer({ description: 'Milliseconds after which it may be tried again.' })),
  },
  { $id: 'Problem', description: 'A refusal or a fault (RFC 9457).' },
);

/** What a problem may say beyond its code. */
export type ProblemFields = Partial<
  Pick<
    Static<typeof ProblemSchema>,
    'detail' | 'retryable' | 'order_id' | 'change_id' | 'available' | 'holds' | 'retry_after_ms'
  >
>;

/** Response schemas for the statuses of these codes, for the routes that may answer with them. */
export function problemResponses(...codes: ProblemCode[]): Record<number, object> {
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of [...codes, 'INTERNAL'] as ProblemCode[]) {
    byStatus.set(table[code][0], [...(byStatus.get(table[code][0]) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, found]) => [
      status,
      {
        description: found.map((code) => `\`${code}\`: ${table[code][2]}`).join(' '),
        content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
      },
    ]),
  );
}

/** A fault that a plugin throws and that leaves as this problem. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly fields: ProblemFields;
  readonly statusCode: number;
  constructor(code: ProblemCode, fields: ProblemFields = {}) {
    super(fields.detail ?? table[code][2]);
    this.code = code;
    this.fields = fields;
    this.statusCode = table[code][0];
  }
}

declare module 'fastify' {
  interface FastifyReply {
    /** Of the problem that it answers with. */
    problemCode: ProblemCode | null;
    /** Answers with a problem; sets Retry-After where it is known or usual, and counts the refusal. */
    problem(code: ProblemCode, fields?: ProblemFields): FastifyReply;
  }
}

function problem(this: FastifyReply, code: ProblemCode, fields: ProblemFields = {}): FastifyReply {
  const [status] = table[code];
  this.request.server.countRefusal(code);
  this.problemCode = code;
  this.request.trace?.fail(code);
  if (fields.retry_after_ms !== undefined)
    this.header('retry-after', Math.max(1, Math.ceil(fields.retry_after_ms / 1000)));
  else if (status === 429 || status === 503) this.header('retry-after', 1);
  if (status === 401) this.header('www-authenticate', challengeOf(code, this.request.url));
  return this.code(status)
    .type('application/problem+json')
    .send(problemText(code, this.request.id, fields));
}

/** What is asked for (RFC 9110), and for a token what is wrong with it (RFC 6750). */
function challengeOf(code: ProblemCode, url: string): string {
  if (code === 'OPERATOR_REQUIRED' && url.startsWith('/admin/')) return 'Basic realm="operator", charset="UTF-8"';
  if (code === 'INVALID_TOKEN') return 'Bearer error="invalid_token"';
  if (code === 'TOKEN_EXPIRED') return 'Bearer error="invalid_token", error_description="expired"';
  return 'Bearer';
}

/** What every problem of a code begins with, up to the request's id: made once, because refusals are most of what a crowd is told. */
const beginnings = new Map<ProblemCode, string>();

/** problemBody as JSON. Request ids hold no character that JSON would escape. */
function problemText(code: ProblemCode, requestId: string, fields: ProblemFields): string {
  if (fields.detail !== undefined || fields.retryable !== undefined)
    return JSON.stringify(problemBody(code, requestId, fields));
  let text = beginnings.get(code);
  if (text === undefined) {
    text = JSON.stringify(problemBody(code, '', {})).slice(0, -2);
    beginnings.set(code, text);
  }
  text += `${requestId}"`;
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) text += `,"${name}":${JSON.stringify(value)}`;
  }
  return `${text}}`;
}

function problemBody(code: ProblemCode, requestId: string, fields: ProblemFields): Static<typeof ProblemSchema> {
  const [status, retryable, detail] = table[code];
  return {
    type: `urn:flash-sale:problem:${code}`,
    title: STATUS_CODES[status] ?? '',
    status,
    code,
    detail,
    retryable,
    request_id: requestId,
    ...fields,
  };
}

/** Fastify's own errors, by their code, that are the client's and not ours. */
const frameworkCodes: Record<string, ProblemCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
};

/** Answers whatever was thrown; the inside of a fault stays in the log. */
function sendError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  if (error instanceof ProblemError) {
    reply.problem(error.code, error.fields);
    return;
  }
  const known = frameworkCodes[error.code];
  if (known) reply.problem(known);
  else if (error.validation) reply.problem('INVALID_REQUEST', { detail: `${error.message}.` });
  else if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    reply.problem('INVALID_REQUEST', { detail: error.message });
  } else if (unavailableDependency(error) !== null) {
    // Counted, not logged: while a part is away this is every request.
    request.log.debug(
      { reqId: request.id, err: error.message, route: request.routeOptions.url },
      'a part does not answer',
    );
    reply.problem(unavailableDependency(error) === 'redis' ? 'INVENTORY_UNAVAILABLE' : 'LEDGER_UNAVAILABLE');
  } else {
    request.log.error({ reqId: request.id, err: error, route: request.routeOptions.url }, 'request failed');
    reply.problem('INTERNAL');
  }
}

/** For what fails before there is a route (a path that cannot be decoded): there the reply has no decorators. */
export function sendFrameworkError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const unknown = error.code === 'FST_ERR_MAX_PARAM_LENGTH';
  const body = unknown
    ? problemBody('NOT_FOUND', request.id, {})
    : problemBody('INVALID_REQUEST', request.id, { detail: error.message });
  request.server.countRefusal(body.code);
  reply.headers(ANSWER_HEADERS).code(body.status).type('application/problem+json').send(JSON.stringify(body));
}

/** Connections that were told what is wrong with them. */
const lingering = new WeakSet<Socket>();

/** For what is no HTTP, or more of it than is allowed: there is a socket and no request. */
export function sendConnectionError(error: Error & { code?: string }, socket: Socket): void {
  // What comes after the words below: the rest of what was too much. It is thrown away until the connection is cut.
  if (lingering.has(socket)) return;
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const words = canBeTold(socket) ? connectionProblem(error.code) : '';
  socket.end(words);
  // The other side need not close its half, and then nobody would: Node asks for a connection that is too slow only once.
  lingering.add(socket);
  const cut = setTimeout(() => socket.destroy(), CONNECTION_LINGER_MS).unref();
  socket.once('close', () => clearTimeout(cut));
}

const rawHeaders = Object.entries(ANSWER_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');

/** @returns a whole answer */
function connectionProblem(fault: string | undefined): string {
  const code =
    fault === 'HPE_HEADER_OVERFLOW'
      ? 'HEADERS_TOO_LARGE'
      : fault === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'REQUEST_TOO_SLOW'
        : 'INVALID_REQUEST';
  const body = JSON.stringify(problemBody(code, newRequestId(), {}));
  const [status] = table[code];
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n${rawHeaders}` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  );
}

export default fp(
  async (app) => {
    app.addSchema(ProblemSchema);
    app.decorateReply('problem', problem);
    app.decorateReply('problemCode', null);
    app.setErrorHandler(sendError);
  },
  { name: 'problems', dependencies: ['refusal-count', 'request-trace'] },
);
