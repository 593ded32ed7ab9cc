/**
 * Pages for people (queue board, API reference). Their packages take 25 MB of memory, so a Fastify
 * instance of their own is built at the first request and handed the requests below one path.
 */
import fastify, { type FastifyInstance } from 'fastify';

/** Requests for files that one process answers at a time: a dozen browsers' worth. Each may hold an open file. */
const PAGES_UNDER_WAY_MAX = 200;

/** @param build registers the pages, below the same path, on an instance that sets the headers of pages */
export function lazyPages(app: FastifyInstance, path: string, build: (pages: FastifyInstance) => Promise<void>): void {
  let building: Promise<FastifyInstance> | undefined;
  let underWay = 0;

  async function buildPages(): Promise<FastifyInstance> {
    const pages = fastify({ loggerInstance: app.log });
    const { default: helmet } = await import('@fastify/helmet');
    await pages.register(helmet, pageHeaders);
    await build(pages);
    await pages.ready();
    return pages;
  }

  app.addHook('onRequest', (request, reply, next) => {
    if (underWay >= PAGES_UNDER_WAY_MAX) return void reply.problem('OVERLOADED');
    underWay += 1;
    // On the request: a reply that still waits for its turn when the connection ends emits no event.
    request.raw.once('close', () => {
      underWay -= 1;
    });
    next();
  });
  for (const url of [path, `${path}/*`]) {
    app.get(url, { schema: { hide: true } }, async (request, reply) => {
      building ??= buildPages();
      const pages = await building;
      reply.hijack();
      for (const [name, value] of Object.entries(reply.getHeaders())) reply.raw.setHeader(name, value as string);
      pages.routing(request.raw, reply.raw);
    });
  }
  app.addHook('onClose', async () => (await building)?.close());
}

/** The pages load nothing from elsewhere, and nobody frames them. JSON replies do not get these headers. */
const pageHeaders = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      // Both pages set styles from their scripts.
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
  // TLS belongs to the gateway.
  strictTransportSecurity: false,
} as const;
