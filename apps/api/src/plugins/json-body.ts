/** JSON bodies, where an empty one means the same as none: the source document's wrk script sends a type and no body. */
import { BODY_LIMIT_BYTES } from '@flash-sale/core/config/limits.ts';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

export default fp(
  async (app: FastifyInstance) => {
    const parse = app.getDefaultJsonParser('error', 'error');
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('application/json', (request, payload, done) => {
      if (Number(request.headers['content-length']) > BODY_LIMIT_BYTES) return done(new ProblemError('BODY_TOO_LARGE'));
      let body: Buffer | null = null;
      let size = 0;
      const end = (error: Error | null): void => {
        payload.off('data', add).off('end', whole).off('error', broken);
        if (error) done(error);
        else if (body === null || size === 0) done(null, undefined);
        else parse(request, body.toString('utf8', 0, size), done);
      };
      const add = (piece: Buffer): void => {
        if (size + piece.length > BODY_LIMIT_BYTES) {
          end(new ProblemError('BODY_TOO_LARGE'));
          return;
        }
        // Nearly every body comes in one piece, and is not copied.
        body = body === null ? piece : appended(body, size, piece);
        size += piece.length;
      };
      const whole = (): void => end(null);
      const broken = (error: Error): void => end(new ProblemError('INVALID_REQUEST', { detail: error.message }));
      payload.on('data', add).on('end', whole).on('error', broken);
    });
  },
  { name: 'json-body', dependencies: ['problems'] },
);

/**
 * A body in one piece of memory. Kept as the pieces in which it came, as Fastify's own parser does, 16 KiB that are sent byte by byte
 * take megabytes.
 *
 * @param size bytes of `body` that are in use
 */
function appended(body: Buffer, size: number, piece: Buffer): Buffer {
  const sum = size + piece.length;
  let memory = body;
  if (sum > body.length) {
    memory = Buffer.allocUnsafe(Math.min(sum * 2, BODY_LIMIT_BYTES));
    body.copy(memory, 0, 0, size);
  }
  piece.copy(memory, size);
  return memory;
}
