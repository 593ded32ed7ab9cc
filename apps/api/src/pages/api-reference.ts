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
    app.addHook('onRoute', (route) => {
      const { method, url, schema } = route;
      if (method !== 'HEAD' && !schema?.hide) described.push({ method, url, ...(schema && { schema }) });
      // Problems are sent as text; a serializer for each would take 2 MB and half of the start.
      if (schema) route.schema = { ...schema, response: withoutProblems(schema.response) };
    });
    await app.register(async (scope) => {
      scope.addHook('onRequest', scope.createAddressLimit());
      lazyPages(scope, {
        path: REFERENCE_PATH,
        files: REFERENCE_PATH,
        async build(pages) {
          // Its routes only describe.
          pages.setValidatorCompiler(() => () => true);
          pages.setSerializerCompiler(() => JSON.stringify);
          await describeApi(pages);
          for (const route of described) pages.route({ ...route, handler: async () => null });
        },
      });
    });
  },
  { name: 'api-reference', dependencies: ['address-limit'] },
);

function withoutProblems(responses: unknown): unknown {
  return Object.fromEntries(Object.entries(responses ?? {}).filter(([, response]) => !('content' in response)));
}

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
      complete(document.openapiObject as unknown as Document);
      return document.openapiObject;
    },
    refResolver: { buildLocalReference: (schema, _base, _fragment, i) => String(schema.$id ?? `def-${i}`) },
  });
  await pages.register(swaggerUi, { routePrefix: REFERENCE_PATH });
}

interface Operation {
  readonly requestBody?: { required: boolean; readonly content: Record<string, { schema: object }> };
  readonly responses: Record<string, { readonly description: string } | { readonly $ref: string }>;
}
interface Document {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { responses?: Operation['responses'] };
}

/** What the plugin lacks: bodies that may be left out, and responses that several routes share. */
function complete({ paths, components }: Document): void {
  const shared: Operation['responses'] = {};
  for (const { requestBody, responses } of Object.values(paths).flatMap((path) => Object.values(path))) {
    if (requestBody) requestBody.required = 'required' in (requestBody.content['application/json']?.schema ?? {});
    for (const [status, response] of Object.entries(responses)) {
      // Of a single code.
      const [, code] = ('description' in response && /^`([A-Z_]+)`: [^`]*$/.exec(response.description)) || [];
      if (code === undefined) continue;
      shared[code] = response;
      responses[status] = { $ref: `#/components/responses/${code}` };
    }
  }
  components.responses = shared;
}
