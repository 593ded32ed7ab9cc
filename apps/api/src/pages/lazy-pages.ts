/**
 * Web pages (queue board, API reference). Their packages take 25 MB of memory, so they are loaded
 * at the first request, into a separate Fastify instance that handles everything below one path.
 */
import fastify, { type FastifyError, type FastifyInstance, LogController } from 'fastify';
import { problemBody } from '../plugins/problems.ts';
import { requestIdOf } from '../request-ids.ts';

/** Requests for pages at a time: enough for a dozen browsers. Each may hold an open file. */
const CONCURRENT_PAGES_MAX = 200;

/**
 * @param build registers the pages below `path`, on an instance that sets their security headers
 */
export function lazyPages(app: FastifyInstance, path: string, build: (pages: FastifyInstance) => Promise<void>): void {
  let building: Promise<FastifyInstance> | undefined;
  let inProgress = 0;

  async function buildPages(): Promise<FastifyInstance> {
    const logController = new LogController({ disableRequestLogging: true });
    const pages = fastify({ loggerInstance: app.log, logController, genReqId: requestIdOf });
    sendProblems(pages);
    const { default: helmet } = await import('@fastify/helmet');
    await pages.register(helmet, pageHeaders);
    await build(pages);
    await pages.ready();
    return pages;
  }

  app.addHook('onRequest', (request, reply, next) => {
    if (inProgress >= CONCURRENT_PAGES_MAX) return void reply.problem('OVERLOADED');
    inProgress += 1;
    // The reply is no substitute: if the connection closes before a pipelined reply has started,
    // the reply emits no event.
    request.raw.once('close', () => {
      inProgress -= 1;
    });
    next();
  });
  for (const url of [path, `${path}/*`]) {
    app.get(url, { schema: { hide: true } }, async (request, reply) => {
      building ??= buildPages().catch((error: unknown) => {
        // The next request tries again.
        building = undefined;
        throw error;
      });
      const pages = await building;
      reply.hijack();
      for (const [name, value] of Object.entries(reply.getHeaders())) reply.raw.setHeader(name, value as string);
      pages.routing(request.raw, reply.raw);
    });
  }
  app.addHook('onClose', async () => (await building?.catch(() => undefined))?.close());
}

/** Pages report errors as problem+json, like the API, also those that their packages answer. */
function sendProblems(pages: FastifyInstance): void {
  pages.setErrorHandler<FastifyError>((error, request, reply) => {
    const { statusCode = 500 } = error;
    if (statusCode >= 500) request.log.error({ err: error }, 'a page failed');
    return reply.code(statusCode).send('');
  });
  pages.addHook('onSend', async (request, reply, payload) => {
    const { statusCode } = reply;
    if (statusCode < 400) return payload;
    // 403: a path that leaves the folder of static files.
    const isUnknown = statusCode === 403 || statusCode === 404;
    const code = statusCode >= 500 ? 'INTERNAL' : isUnknown ? 'NOT_FOUND' : 'INVALID_REQUEST';
    const body = problemBody(code, request.id, {});
    reply.code(body.status).type('application/problem+json; charset=utf-8').removeHeader('content-length');
    if (body.retryable) reply.header('retry-after', 1);
    return JSON.stringify(body);
  });
}

/** Security headers of the pages: no resources of other origins, no framing. */
const pageHeaders = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      // Both pages set inline styles from scripts.
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", 'data:'],
      fontSrc: ["'self'", 'data:'],
      objectSrc: ["'none'"],
      baseUri: ["'self'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  frameguard: { action: 'deny' },
  // The gateway terminates TLS.
  strictTransportSecurity: false,
} as const;
