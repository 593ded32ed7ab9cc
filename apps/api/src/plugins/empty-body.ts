/**
 * Accepts an empty JSON body as none: the source document's wrk script sends a content type without
 * a body.
 */
import fp from 'fastify-plugin';

export default fp(
  async (app) => {
    const parse = app.getDefaultJsonParser('error', 'error');
    app.removeContentTypeParser(['application/json', 'text/plain']);
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
      if (body === '') done(null, undefined);
      else parse(request, body as string, done);
    });
  },
  { name: 'empty-body' },
);
