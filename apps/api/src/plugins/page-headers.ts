/**
 * What a browser is told of the pages (board, reference): they load nothing from elsewhere, and nobody frames them. Registered in their
 * scopes only. Answers in JSON are no pages: a dozen headers on each would cost a crowd more than they tell a browser.
 */
import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

/** Requests for files of the reference, or of the board, that one process answers at a time: a dozen browsers' worth, and so many open files. */
const PAGES_UNDER_WAY_MAX = 200;

export async function addPageHeaders(app: FastifyInstance): Promise<void> {
  await app.register(helmet, {
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
    // TLS is the gateway's, and so is what browsers keep in mind of its name.
    strictTransportSecurity: false,
  });
}

/**
 * Bounds how many requests of a scope's pages are answered at a time: their files are read from the disk as they are fetched, and each that is
 * not fetched keeps one open. Who comes after them is told 503, buyers and operators' routes are others'.
 */
export function boundPages(app: FastifyInstance): void {
  let underWay = 0;
  app.addHook('onRequest', (request, reply, next) => {
    if (underWay >= PAGES_UNDER_WAY_MAX) return void reply.problem('OVERLOADED');
    underWay += 1;
    // Of the request: an answer that still waits for its turn as the connection ends closes without a word.
    request.raw.once('close', () => {
      underWay -= 1;
    });
    next();
  });
}
