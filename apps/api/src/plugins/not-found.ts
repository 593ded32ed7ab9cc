/** What no route answers: 405 with Allow if the path has routes for other methods, else 404. */
import fp from 'fastify-plugin';
import findMyWay, { type HTTPMethod } from 'find-my-way';

/** Must be registered before the routes. */
export default fp(
  async (app) => {
    // Fastify's own router cannot be asked by path.
    const router = findMyWay();
    const methods = new Set<HTTPMethod>();
    app.addHook('onRoute', ({ url, method }) => {
      // The answer to preflights, on every path.
      if (url === '*') return;
      for (const name of [method].flat() as HTTPMethod[]) {
        methods.add(name);
        router.on(name, url, () => {});
      }
    });
    app.setNotFoundHandler((request, reply) => {
      const allowed = [...methods].filter((method) => router.find(method, request.raw.url as string) !== null);
      if (allowed.length === 0) return void reply.problem('NOT_FOUND');
      reply.header('allow', allowed.join(', '));
      reply.problem('METHOD_NOT_ALLOWED');
    });
  },
  { name: 'not-found', dependencies: ['problems'] },
);
