/** JSON bodies, where an empty one means the same as none: the source document's wrk script sends a type and no body. */
import { BODY_LIMIT_BYTES } from '@flash-sale/core/limits.ts';
import type { FastifyInstance } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemError } from './problems.ts';

export default fp(
  async (app: FastifyInstance) => {
    const parse = app.getDefaultJsonParser('error', 'error');
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('application/json', (request, payload, done) => {
      if (Number(request.headers['content-length']) > BODY_LIMIT_BYTES) return done(new ProblemError('BODY_TOO_LARGE'));
      const body = collectBody();
      const end = (error: Error | null): void => {
        payload.off('data', add).off('end', whole).off('error', broken);
        if (error) done(error);
        else if (body.size === 0) done(null, undefined);
        else parse(request, body.text(), done);
      };
      const add = (piece: Buffer): void => {
        if (!body.add(piece)) end(new ProblemError('BODY_TOO_LARGE'));
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
 */
function collectBody() {
  let memory: Buffer = Buffer.alloc(0);
  let size = 0;
  return {
    get size() {
      return size;
    },
    /** @returns false where the body is longer than it may be */
    add(piece: Buffer): boolean {
      const sum = size + piece.length;
      if (sum > BODY_LIMIT_BYTES) return false;
      // Nearly every body comes in one piece, and is not copied.
      if (size === 0) memory = piece;
      else {
        if (sum > memory.length) {
          const larger = Buffer.allocUnsafe(Math.min(sum * 2, BODY_LIMIT_BYTES));
          memory.copy(larger, 0, 0, size);
          memory = larger;
        }
        piece.copy(memory, size);
      }
      size = sum;
      return true;
    },
    text: (): string => memory.toString('utf8', 0, size),
  };
}
