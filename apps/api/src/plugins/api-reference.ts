/** OpenAPI 3.1, made from the schemas of the routes, and a page to read and try it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fp from 'fastify-plugin';

export default fp(
  async (app) => {
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
            buyer: { type: 'apiKey', in: 'header', name: 'X-User-ID', description: 'Who is buying.' },
            operator: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN.' },
          },
        },
      },
      refResolver: { buildLocalReference: (schema, _base, _fragment, i) => String(schema.$id ?? `def-${i}`) },
      transform: ({ schema, url }) => ({ schema: url.startsWith('/admin/') ? { ...schema, hide: true } : schema, url }),
    });
    await app.register(swaggerUi, { routePrefix: '/docs' });
  },
  { name: 'api-reference' },
);
