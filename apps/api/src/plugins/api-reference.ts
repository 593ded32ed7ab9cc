/** OpenAPI 3.1, made from the schemas of the routes, and a page to read and try it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fp from 'fastify-plugin';
import { addPageHeaders, boundPages } from './page-headers.ts';

const buyerSchemes = {
  header: {
    type: 'apiKey',
    in: 'header',
    name: 'X-User-ID',
    description: 'Who is buying. With AUTH=jwt it is a bearer token instead, whose subject is the buyer.',
  },
  jwt: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'Its subject is the buyer.' },
} as const;

/** @param options.buyers how a buyer says who he is here */
export default fp<{ buyers: 'jwt' | 'header' }>(
  async (app, { buyers }) => {
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Flash sale',
          version: '0.1.0',
          description:
            'N units sold at one moment to a crowd many times N. Every refusal is `application/problem+json` with a stable `code`.',
          license: { name: 'MIT', identifier: 'MIT' },
        },
        tags: [
          { name: 'sales', description: 'What is on offer.' },
          { name: 'orders', description: 'Ordering, and what became of it.' },
          { name: 'admin', description: 'Running the sales.' },
          { name: 'health', description: 'Whether the parts answer.' },
        ],
        components: {
          securitySchemes: {
            buyer: buyerSchemes[buyers],
            operator: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN.' },
          },
        },
      },
      refResolver: { buildLocalReference: (schema, _base, _fragment, i) => String(schema.$id ?? `def-${i}`) },
      transform: ({ schema, url }) => ({ schema: url.startsWith('/admin/') ? { ...schema, hide: true } : schema, url }),
    });
    await app.register(async (pages) => {
      await addPageHeaders(pages);
      boundPages(pages);
      await pages.register(swaggerUi, { routePrefix: '/docs' });
    });
  },
  { name: 'api-reference' },
);
