/** OpenAPI 3.1, generated from the route schemas, and Swagger UI at /docs. */
import type { FastifyInstance, RouteOptions } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemSchema } from '../plugins/problems.ts';
import { lazyPages } from './lazy-pages.ts';

const REFERENCE_PATH = '/docs';

const buyerSchemes = {
  header: {
    type: 'apiKey',
    in: 'header',
    name: 'X-User-ID',
    description:
      'The buyer, set by a gateway (AUTH=header). With AUTH=jwt, a bearer token instead; its subject is the buyer.',
  },
  jwt: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'Its subject is the buyer.' },
} as const;

/**
 * Must be registered before the routes that it describes.
 *
 * @param options.buyers how a buyer is identified here
 */
export default fp<{ buyers: 'jwt' | 'header' }>(
  async (app, { buyers }) => {
    const described: Pick<RouteOptions, 'method' | 'url' | 'schema'>[] = [];
    app.addHook('onRoute', ({ method, url, schema }) => {
      if (method !== 'HEAD' && !schema?.hide) described.push({ method, url, ...(schema && { schema }) });
    });
    await app.register(async (scope) => {
      lazyPages(scope, REFERENCE_PATH, async (pages) => {
        await describeApi(pages, buyers);
        for (const route of described) pages.route({ ...route, handler: async () => null });
      });
    });
  },
  { name: 'api-reference' },
);

async function describeApi(pages: FastifyInstance, buyers: keyof typeof buyerSchemes): Promise<void> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ]);
  pages.addSchema(ProblemSchema);
  await pages.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Flash sale',
        version: '0.1.0',
        description:
          'A backend for flash sales: N units, and many more than N buyers who all order at the same moment. Every refusal is `application/problem+json` with a stable `code`.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      tags: [
        { name: 'sales', description: 'Reading sales.' },
        { name: 'orders', description: 'Placing and reading orders.' },
        { name: 'admin', description: 'Managing sales, for operators.' },
        { name: 'health', description: 'Whether the process and its dependencies work.' },
      ],
      components: {
        securitySchemes: {
          buyer: buyerSchemes[buyers],
          operator: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN.' },
        },
      },
    },
    refResolver: { buildLocalReference: (schema, _base, _fragment, i) => String(schema.$id ?? `def-${i}`) },
  });
  await pages.register(swaggerUi, { routePrefix: REFERENCE_PATH });
}
