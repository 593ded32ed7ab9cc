/**
 * JSON bodies. An empty body is none: the source document's wrk script sends a content type without
 * a body. All pieces of a body go into one buffer: kept apart, as Fastify's parser does, 16 KiB
 * that are sent byte by byte take megabytes.
 */
import { errorCodes, type FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

/** Bytes of a body, unless its route has another `bodyLimit`. */
export const BODY_LIMIT_BYTES = 16 * 1024;

/** Text that PostgreSQL cannot store, or that it stores as another text. */
const UNSTORABLE = /[\0\p{Cs}]/u;

export default fp(
  async (app: FastifyInstance) => {
    const parse = app.getDefaultJsonParser('error', 'error');
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('application/json', (request, payload, done) => {
      const limit = request.routeOptions.bodyLimit;
      let body: Buffer = Buffer.alloc(0);
      let size = 0;
      const end = (error?: Error): void => {
        payload.off('data', add).off('end', end).off('error', end);
        if (error) done(new ProblemError('INVALID_REQUEST', { detail: error.message }));
        else if (size === 0) done(null, undefined);
        else {
          const text = body.toString('utf8', 0, size);
          if (isStorable(text)) parse(request, text, done);
          else
            done(new ProblemError('INVALID_REQUEST', { detail: 'The body has a NUL, or half of a surrogate pair.' }));
        }
      };
      const add = (piece: Buffer): void => {
        if (size + piece.length > limit) {
          payload.off('data', add).off('end', end).off('error', end);
          done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
          return;
        }
        // Most bodies are one piece, which is not copied.
        if (size === 0) body = piece;
        else {
          if (body.length < limit) body = Buffer.concat([body], limit);
          piece.copy(body, size);
        }
        size += piece.length;
      };
      if (Number(request.headers['content-length']) > limit) done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
      else payload.on('data', add).on('end', end).on('error', end);
    });
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
