/**
 * JSON bodies. An empty body is none, whatever type or coding it has: the source document's wrk
 * script sends a content type without a body, and proxies add a coding. All pieces of a body go
 * into one buffer: kept apart, as Fastify's parser does, 16 KiB that are sent byte by byte take
 * megabytes.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { errorCodes, type FastifyInstance, type FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { bodyFailure } from './connection-state.ts';
import { ProblemError } from './problems.ts';

/** Bytes of a body, unless its route has another `bodyLimit`. */
export const BODY_LIMIT_BYTES = 16 * 1024;

/** Text that PostgreSQL cannot store, or that it stores as another text. */
const UNSTORABLE = /[\0\p{Cs}]/u;

type Done = (error: Error | null, body?: unknown) => void;

export default fp(
  async (app: FastifyInstance) => {
    const parse = app.getDefaultJsonParser('error', 'error');

    function receive(isJson: boolean) {
      return (request: FastifyRequest, payload: IncomingMessage, done: Done): void => {
        const limit = request.routeOptions.bodyLimit;
        let body: Buffer = Buffer.alloc(0);
        let size = 0;
        const detach = () => payload.off('data', add).off('end', end).off('error', fail);
        const finish = (error: Error | null): void => {
          detach();
          done(error);
        };
        const fail = (error: Error): void =>
          finish(
            error instanceof ProblemError ? error : new ProblemError('INVALID_REQUEST', { detail: error.message }),
          );
        const end = (): void => {
          const bytes = body.subarray(0, size);
          const text = bytes.toString();
          if (size === 0) finish(null);
          else if (!isUtf8(bytes)) fail(new Error('The body is not UTF-8.'));
          else if (!isStorable(text)) fail(new Error('The body has a NUL, or half of a surrogate pair.'));
          else {
            detach();
            parse(request, text, done);
          }
        };
        const add = (piece: Buffer): void => {
          if (size + piece.length > limit) return void finish(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
          // Most bodies are one piece, which is not copied.
          if (size === 0) {
            if (!isJson || !isPlainUtf8(request)) return void finish(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE());
            body = piece;
          } else {
            if (body.length < limit) body = Buffer.concat([body], limit);
            piece.copy(body, size);
          }
          size += piece.length;
        };
        const failure = bodyFailure(payload);
        if (failure || request.is404) done(failure ?? null);
        else if (Number(request.headers['content-length']) > limit) done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
        else payload.on('data', add).on('end', end).on('error', fail);
      };
    }

    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', receive(true));
    app.addContentTypeParser('*', receive(false));
  },
  { name: 'json-body', dependencies: ['problems'] },
);

/** Whether each string and name in the JSON text can be stored as it is; JSON escapes a NUL. */
function isStorable(text: string): boolean {
  if (!text.includes('\\u')) return true;
  const escaped = text.replaceAll(/\\(u[0-9a-f]{4}|.)/gis, (_all, code: string) =>
    code.length === 5 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : '-',
  );
  return !UNSTORABLE.test(escaped);
}

/** Read as JSON in UTF-8, other bytes could be a valid order too. */
function isPlainUtf8({ headers }: FastifyRequest): boolean {
  const { 'content-type': type = '', 'content-encoding': coding = 'identity' } = headers;
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1] ?? 'utf-8';
  return coding.toLowerCase() === 'identity' && /^(utf-?8|us-ascii)$/i.test(charset);
}
