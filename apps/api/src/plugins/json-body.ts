/**
 * JSON bodies. An empty body is none: the source document's wrk script sends a content type without
 * a body. All pieces of a body go into one buffer: kept apart, as Fastify's parser does, 16 KiB
 * that are sent byte by byte take megabytes.
 */
import { errorCodes, type FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

/** Bytes of a body. The largest valid one, a new sale with a description, has 4 KiB. */
export const BODY_LIMIT_BYTES = 16 * 1024;

export default fp(
  async (app: FastifyInstance) => {
    const parse = app.getDefaultJsonParser('error', 'error');
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('application/json', (request, payload, done) => {
      let body: Buffer = Buffer.alloc(0);
      let size = 0;
      const end = (error?: Error): void => {
        payload.off('data', add).off('end', end).off('error', end);
        if (error) done(new ProblemError('INVALID_REQUEST', { detail: error.message }));
        else if (size === 0) done(null, undefined);
        else parse(request, body.toString('utf8', 0, size), done);
      };
      const add = (piece: Buffer): void => {
        if (size + piece.length > BODY_LIMIT_BYTES) {
          payload.off('data', add).off('end', end).off('error', end);
          done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
          return;
        }
        // Most bodies are one piece, which is not copied.
        if (size === 0) body = piece;
        else {
          if (body.length < BODY_LIMIT_BYTES) body = Buffer.concat([body], BODY_LIMIT_BYTES);
          piece.copy(body, size);
        }
        size += piece.length;
      };
      if (Number(request.headers['content-length']) > BODY_LIMIT_BYTES)
        done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
      else payload.on('data', add).on('end', end).on('error', end);
    });
  },
  { name: 'json-body', dependencies: ['problems'] },
);
