/**
 * What a browser is told of the pages (board, reference): they load nothing from elsewhere, and nobody frames them. Registered in their
 * scopes only. Answers in JSON are no pages: a dozen headers on each would cost a crowd more than they tell a browser.
 */
import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

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
