/** OpenAPI 3.1, generated from the route schemas, and Swagger UI at /docs. */
import type { FastifyInstance, RouteOptions } from 'fastify';
import fp from 'fastify-plugin';
import { ProblemSchema } from '../plugins/problems.ts';
import { lazyPages } from './lazy-pages.ts';

const REFERENCE_PATH = '/docs';

const securitySchemes = {
  buyer: {
    type: 'apiKey',
    in: 'header',
    name: 'X-User-ID',
    description: 'The buyer, set by a gateway. Believed with AUTH=header, and only then.',
  },
  buyer_token: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'Its subject is the buyer. Believed with AUTH=jwt, and only then.',
  },
  operator: { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN.' },
} as const;

/** Must be registered before the routes that it describes. */
export default fp(
  async (app) => {
    const described: Pick<RouteOptions, 'method' | 'url' | 'schema'>[] = [];
    app.addHook('onRoute', ({ method, url, schema }) => {
      if (method !== 'HEAD' && !schema?.hide) described.push({ method, url, ...(schema && { schema }) });
    });
    await app.register(async (scope) => {
      lazyPages(scope, REFERENCE_PATH, async (pages) => {
        await describeApi(pages);
        for (const route of described) pages.route({ ...route, handler: async () => null });
      });
    });
  },
  { name: 'api-reference' },
);

async function describeApi(pages: FastifyInstance): Promise<void> {
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
      components: { securitySchemes },
    },
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      // The plugin calls every body required; one without required fields may be left out.
      for (const path of Object.values(document.openapiObject.paths ?? {})) {
        const body = path?.post?.requestBody;
        if (body && 'content' in body) {
          const schema = body.content['application/json']?.schema;
          body.required = schema !== undefined && 'required' in schema;
        }
      }
      return document.openapiObject;
    },
    refResolver: { buildLocalReference: (schema, _base, _fragment, i) => String(schema.$id ?? `def-${i}`) },
  });
  await pages.register(swaggerUi, { routePrefix: REFERENCE_PATH });
}
