/**
 * Statuses and messages of every refusal and fault. Each is sent as application/problem+json (RFC
 * 9457) with a stable `code` and with `retryable`: whether the same request can succeed later.
 */
import { STATUS_CODES } from 'node:http';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { ANSWER_HEADERS } from './answer-headers.ts';
import { takeNoMore } from './connection-state.ts';

const NEVER = null;

/** Status; seconds after which the same request can succeed (Retry-After), or NEVER; sentence. */
const table = {
  INVALID_REQUEST: [400, NEVER, 'The request does not match the schema of this route.'],
  INVALID_BUYER: [400, NEVER, 'X-User-ID must be 1 to 128 printable ASCII characters without spaces.'],
  INVALID_IDEMPOTENCY_KEY: [400, NEVER, 'Idempotency-Key must be 1 to 128 printable ASCII characters, quoted or bare.'],
  SALE_NOT_OPEN: [400, 1, 'The sale has not started.'],
  SALE_PAUSED: [400, 5, 'The sale is paused.'],
  SALE_ENDED: [400, NEVER, 'The sale has ended.'],
  SOLD_OUT: [400, 10, 'All units are taken.'],
  NOT_ENOUGH_UNITS: [400, 10, 'Fewer units are left than the order asks for. Nothing was taken.'],
  BUYER_LIMIT: [400, NEVER, 'The order exceeds the number of units that one buyer may hold.'],
  BUYER_REQUIRED: [
    401,
    NEVER,
    'The buyer is missing: send Authorization: Bearer <token>, or X-User-ID behind a gateway.',
  ],
  INVALID_TOKEN: [401, NEVER, 'The token is invalid.'],
  TOKEN_EXPIRED: [401, NEVER, 'The token has expired. Get a new one and repeat the request.'],
  OPERATOR_REQUIRED: [
    401,
    NEVER,
    'The operator token is missing or wrong: send Authorization: Bearer <ADMIN_TOKEN>. The queue board takes it as the password of admin.',
  ],
  BOARD_IS_READ_ONLY: [403, NEVER, 'The queue board is read-only.'],
  NOT_FOUND: [404, NEVER, 'There is nothing at this address.'],
  SALE_NOT_FOUND: [404, NEVER, 'There is no such sale.'],
  ORDER_NOT_FOUND: [404, NEVER, 'This buyer has no such order.'],
  METHOD_NOT_ALLOWED: [405, NEVER, 'The method is not allowed; Allow lists those that are.'],
  REQUEST_TOO_SLOW: [408, 1, 'The request did not arrive in time.'],
  SALE_EXISTS: [409, NEVER, 'A sale with this id exists. It was not changed.'],
  UNITS_PROMISED: [409, NEVER, 'The change would withdraw more units than are free. Nothing was changed.'],
  TOO_MANY_UNITS: [409, NEVER, 'The sale would have more units than the system allows. Nothing was changed.'],
  TOO_MANY_SALES: [
    409,
    NEVER,
    'The system has as many sales that have not ended as it allows. Nothing was changed; end one first.',
  ],
  CHANGE_ID_TAKEN: [409, NEVER, 'Another stock change has this change_id. Nothing was changed.'],
  BODY_TOO_LARGE: [413, NEVER, 'The body is too large.'],
  URI_TOO_LONG: [414, NEVER, 'The URI is too long.'],
  UNSUPPORTED_MEDIA_TYPE: [415, NEVER, 'Send the body as plain application/json in UTF-8, or send none.'],
  EXPECTATION_FAILED: [417, NEVER, 'No expectation but 100-continue is supported.'],
  IDEMPOTENCY_KEY_REUSED: [
    422,
    NEVER,
    'This Idempotency-Key belongs to an order with another body. Nothing was taken.',
  ],
  BUYER_RATE_LIMITED: [429, 1, 'This buyer sends too many orders.'],
  SYSTEM_RATE_LIMITED: [429, 1, 'The system receives more orders than it accepts in a second.'],
  ADDRESS_RATE_LIMITED: [429, 1, 'This address sends too many requests.'],
  HEADERS_TOO_LARGE: [431, NEVER, 'The headers are too large.'],
  INTERNAL: [500, 1, 'An internal error occurred. The log has the details under the request id.'],
  OVERLOADED: [503, 1, 'The server is overloaded. Nothing was taken.'],
  IDENTITY_UNAVAILABLE: [503, 1, 'The token cannot be verified: its key is unavailable. Nothing was taken.'],
  INVENTORY_UNAVAILABLE: [503, 1, 'The inventory is unavailable.'],
  LEDGER_BEHIND: [503, 1, 'Too many orders of this sale wait for the ledger. Nothing was taken.'],
  LEDGER_UNAVAILABLE: [503, 1, 'The ledger is unavailable.'],
  SALE_RECOVERING: [503, 1, "The sale's inventory is being rebuilt."],
  STOCK_CHANGE_PENDING: [
    503,
    NEVER,
    'The change is recorded and will be applied within seconds of the inventory being back. Repeat it only with its change_id.',
  ],
  OUTCOME_UNKNOWN: [
    503,
    NEVER,
    'The inventory did not answer in time: the order may have been taken. Read it by its order_id before ordering again.',
  ],
  // Sent by the proxy in front (deploy/docker/haproxy.cfg).
  API_CONNECTION_LOST: [
    502,
    NEVER,
    'The connection to the API was lost. The request may have been carried out: repeat it with the same Idempotency-Key, or change_id.',
  ],
  API_UNAVAILABLE: [503, 1, 'No API can be reached. Nothing was changed.'],
  API_TIMEOUT: [
    504,
    NEVER,
    'The API did not answer in time. The request may have been carried out: repeat it with the same Idempotency-Key, or change_id.',
  ],
} as const satisfies Record<string, readonly [number, number | null, string]>;

export type ProblemCode = keyof typeof table;

export const problemCodes = Object.keys(table) as ProblemCode[];

const codeSchema = (codes: readonly ProblemCode[]) =>
  Type.Unsafe<ProblemCode>({ type: 'string', enum: codes, description: 'Stable code for programs.' });

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'URN of the code.' }),
    title: Type.String({ description: 'Name of the status.' }),
    status: Type.Integer(),
    code: codeSchema(problemCodes),
    detail: Type.String({ description: 'Message for people.' }),
    retryable: Type.Boolean({ description: 'Whether the same request can succeed later.' }),
    request_id: Type.Optional(
      Type.String({ description: 'Identifies the request in the logs. Absent if the proxy in front refused it.' }),
    ),
    order_id: Type.Optional(Type.String({ description: 'The order that may have been taken.' })),
    change_id: Type.Optional(Type.String({ description: 'The stock change that was requested.' })),
    available: Type.Optional(Type.Integer({ description: 'Units that are left.' })),
    holds: Type.Optional(Type.Integer({ description: 'Units that the buyer holds.' })),
    retry_after_ms: Type.Optional(Type.Integer({ description: 'Milliseconds after which to retry.' })),
  },
  { $id: 'Problem', description: 'A refusal or a fault (RFC 9457).' },
);

/** Optional fields of a problem. */
export type ProblemFields = Partial<
  Pick<
    Static<typeof ProblemSchema>,
    'detail' | 'retryable' | 'order_id' | 'change_id' | 'available' | 'holds' | 'retry_after_ms'
  >
>;

/** Codes that every request may get, from plugins, Node's parser or the proxy in front. */
const commonCodes = [
  'INVALID_REQUEST',
  'NOT_FOUND',
  'REQUEST_TOO_SLOW',
  'URI_TOO_LONG',
  'EXPECTATION_FAILED',
  'ADDRESS_RATE_LIMITED',
  'HEADERS_TOO_LARGE',
  'INTERNAL',
  'API_CONNECTION_LOST',
  'API_UNAVAILABLE',
  'API_TIMEOUT',
] as const;
/** Codes of routes with a body. */
export const bodyCodes = ['BODY_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const;
/** Codes that every route may answer that asks inventory and ledger: for buyers, also shedding. */
export const readCodes = ['OVERLOADED', 'INVENTORY_UNAVAILABLE', 'LEDGER_UNAVAILABLE'] as const;
/** Codes of routes that identify the buyer. */
export const buyerCodes = [
  'INVALID_BUYER',
  'BUYER_REQUIRED',
  'INVALID_TOKEN',
  'TOKEN_EXPIRED',
  'IDENTITY_UNAVAILABLE',
] as const;

/** The header in a response schema. */
export const retryAfter = (when: string) => ({
  'Retry-After': { type: 'integer', description: `Seconds after which to ask again; ${when}.` },
});

/** @returns response schemas for the statuses of these codes, and of commonCodes */
export function problemResponses(...codes: ProblemCode[]): Record<number, object> {
  const byStatus = Map.groupBy(new Set<ProblemCode>([...codes, ...commonCodes]), (code) => table[code][0]);
  return Object.fromEntries(
    Array.from(byStatus, ([status, found]) => [
      status,
      {
        description: found.map((code) => `\`${code}\`: ${table[code][2]}`).join(' '),
        ...(found.some((code) => table[code][1] !== NEVER) && { headers: retryAfter('if `retryable` is true') }),
        content: {
          'application/problem+json': {
            schema: { allOf: [Type.Ref('Problem'), Type.Object({ code: codeSchema(found) })] },
          },
        },
      },
    ]),
  );
}

/** An error that is sent as this problem. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly fields: ProblemFields;
  constructor(code: ProblemCode, fields: ProblemFields = {}) {
    super(fields.detail ?? table[code][2]);
    this.code = code;
    this.fields = fields;
  }
}

declare module 'fastify' {
  interface FastifyReply {
    /** Code of the problem that was sent. */
    problemCode: ProblemCode | null;
    /** Sends a problem, with Retry-After exactly if it is retryable, and counts the refusal. */
    problem(code: ProblemCode, fields?: ProblemFields): FastifyReply;
  }
}

function problem(this: FastifyReply, code: ProblemCode, fields: ProblemFields = {}): FastifyReply {
  const [status, retryAfterS] = table[code];
  this.request.server.countRefusal(code);
  this.problemCode = code;
  this.request.trace?.fail(code);
  if (fields.retryable ?? retryAfterS !== NEVER) {
    const seconds = fields.retry_after_ms === undefined ? (retryAfterS ?? 1) : fields.retry_after_ms / 1_000;
    this.header('retry-after', Math.max(1, Math.ceil(seconds)));
  }
  if (status === 401) this.header('www-authenticate', challengeOf(code, this.request.url));
  return this.code(status)
    .type('application/problem+json')
    .send(problemText(code, this.request.id, fields));
}

/** WWW-Authenticate (RFC 9110); for tokens with the error (RFC 6750). */
function challengeOf(code: ProblemCode, url: string): string {
  if (code === 'OPERATOR_REQUIRED' && url.startsWith('/admin/')) return 'Basic realm="operator", charset="UTF-8"';
  if (code === 'INVALID_TOKEN') return 'Bearer error="invalid_token"';
  if (code === 'TOKEN_EXPIRED') return 'Bearer error="invalid_token", error_description="expired"';
  return 'Bearer';
}

export function problemBody(code: ProblemCode, requestId: string, fields: ProblemFields): Static<typeof ProblemSchema> {
  const [status, retryAfterS, detail] = table[code];
  return {
    type: `urn:flash-sale:problem:${code}`,
    title: STATUS_CODES[status] ?? '',
    status,
    code,
    detail,
    retryable: retryAfterS !== NEVER,
    request_id: requestId,
    ...fields,
  };
}

/** JSON of each problem without optional fields, up to the request id. */
const beginnings = Object.fromEntries(
  problemCodes.map((code) => [code, JSON.stringify(problemBody(code, '', {})).slice(0, -2)]),
);

/** `problemBody` as JSON, 1 µs faster: refusals are most of what a crowd gets. */
function problemText(code: ProblemCode, requestId: string, fields: ProblemFields): string {
  if (fields.detail !== undefined || fields.retryable !== undefined)
    return JSON.stringify(problemBody(code, requestId, fields));
  const optional = JSON.stringify(fields);
  // Request ids have no character that JSON escapes.
  return `${beginnings[code]}${requestId}"${optional === '{}' ? '}' : `,${optional.slice(1)}`}`;
}

/** Fastify's errors for client mistakes. */
const frameworkCodes: Record<string, ProblemCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
};

/** @returns the values of a list, if the value is not one of them; the name of an unknown member */
function explain({ validation = [] }: FastifyError): string {
  const { allowedValues, additionalProperty } = validation[0]?.params ?? {};
  const words = Array.isArray(allowedValues) ? allowedValues.join(', ') : additionalProperty;
  return words === undefined ? '' : `: ${words}`;
}

/** Maps an error to a problem. Details of a fault go to the log only. */
function sendError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  // Fastify ends the connection after a body that was refused. That is right while more of it may
  // arrive; behind a complete body, other requests may wait for their responses.
  if (reply.hasHeader('connection')) {
    if (request.raw.complete) reply.removeHeader('connection');
    else takeNoMore(request.raw.socket);
  }
  if (error instanceof ProblemError) {
    reply.problem(error.code, error.fields);
    return;
  }
  const known = frameworkCodes[error.code];
  if (known) reply.problem(known);
  else if (error.validation) reply.problem('INVALID_REQUEST', { detail: `${error.message}${explain(error)}.` });
  else if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    reply.problem('INVALID_REQUEST', { detail: error.message });
  } else if (unavailableDependency(error) !== null) {
    // Debug only: during an outage every request ends here.
    request.log.debug(
      { reqId: request.id, err: error.message, route: request.routeOptions.url },
      'a dependency is unavailable',
    );
    reply.problem(unavailableDependency(error) === 'redis' ? 'INVENTORY_UNAVAILABLE' : 'LEDGER_UNAVAILABLE');
  } else {
    request.log.error({ reqId: request.id, err: error, route: request.routeOptions.url }, 'request failed');
    reply.problem('INTERNAL');
  }
}

/** For errors before routing (a path that cannot be decoded): the reply has no decorators yet. */
export function sendFrameworkError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const unknown = error.code === 'FST_ERR_MAX_PARAM_LENGTH';
  const body = unknown
    ? problemBody('NOT_FOUND', request.id, {})
    : problemBody('INVALID_REQUEST', request.id, { detail: error.message });
  request.server.countRefusal(body.code);
  reply.headers(ANSWER_HEADERS).code(body.status).type('application/problem+json').send(JSON.stringify(body));
}

export default fp(
  async (app) => {
    app.decorateReply('problem', problem);
    app.decorateReply('problemCode', null);
    app.setErrorHandler(sendError);
  },
  { name: 'problems', dependencies: ['refusal-count', 'request-trace'] },
);
