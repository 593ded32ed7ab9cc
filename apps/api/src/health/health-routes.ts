/** Health checks: liveness, readiness, and the state of every dependency. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Breaker } from '@flash-sale/core/runtime/circuit-breaker.ts';
import { Type } from '@sinclair/typebox';
import { problemResponses } from '../plugins/problems.ts';

/**
 * Milliseconds that a probe's result is reused, so that health checks cannot load the dependencies.
 */
export const PROBE_CACHE_MS = 500;
/** Milliseconds that a dependency has to answer. */
const PROBE_TIMEOUT_MS = 1_000;

type Probes = Record<'redis' | 'postgres' | 'worker', () => Promise<void>>;

const DependencySchema = Type.Union([Type.Literal('ok'), Type.Literal('does not answer')]);
const BreakerSchema = Type.Union([Type.Literal('closed'), Type.Literal('open'), Type.Literal('half_open')]);
const StatusSchema = Type.Object(
  { status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]) },
  { description: '200: ok. 503: unavailable.' },
);
const HealthSchema = Type.Object(
  {
    status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]),
    parts: Type.Object({ redis: DependencySchema, postgres: DependencySchema, worker: DependencySchema }),
    breakers: Type.Object(
      { redis: BreakerSchema, postgres: BreakerSchema },
      { description: 'Circuit breakers of this process. open: calls fail at once until the dependency answers again.' },
    ),
    unavailable: Type.Array(Type.String(), { description: 'Names of the dependencies that do not answer.' }),
  },
  { description: '200: ok. 503: unavailable.' },
);

const describe = (summary: string, response: object, description?: string) => ({
  schema: {
    tags: ['health'],
    summary,
    ...(description && { description }),
    response: { ...problemResponses(), ...response },
  },
});

export const healthRoutes: FastifyPluginAsyncTypebox<{
  probes: Probes;
  breakers: Record<'redis' | 'postgres', Pick<Breaker, 'state'>>;
}> = async (app, { probes, breakers }) => {
  const results = new Map<string, { askedAt: number; result: Promise<boolean> }>();

  /** Runs a probe at most once within PROBE_CACHE_MS. */
  function answers(name: keyof Probes): Promise<boolean> {
    const known = results.get(name);
    if (known && performance.now() - known.askedAt < PROBE_CACHE_MS) return known.result;
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, PROBE_TIMEOUT_MS, false).unref());
    const probed = probes[name]().then(
      () => true,
      () => false,
    );
    const result = Promise.race([probed, late]);
    results.set(name, { askedAt: performance.now(), result });
    return result;
  }

  const status = (ok: boolean) => ({ status: ok ? ('ok' as const) : ('unavailable' as const) });
  const dependency = (ok: boolean) => (ok ? ('ok' as const) : ('does not answer' as const));

  app.get(
    '/health',
    describe('Every dependency', { 200: HealthSchema, 503: HealthSchema }),
    async (_request, reply) => {
      const [redis, postgres, worker] = await Promise.all([answers('redis'), answers('postgres'), answers('worker')]);
      const unavailable = Object.entries({ redis, postgres, worker }).flatMap(([name, ok]) => (ok ? [] : [name]));
      const isHealthy = unavailable.length === 0;
      return reply.code(isHealthy ? 200 : 503).send({
        ...status(isHealthy),
        parts: { redis: dependency(redis), postgres: dependency(postgres), worker: dependency(worker) },
        breakers: { redis: breakers.redis.state(), postgres: breakers.postgres.state() },
        unavailable,
      });
    },
  );

  app.get('/health/live', describe('The process runs', { 200: StatusSchema }), async () => status(true));

  const readiness =
    'Checks only that Redis takes orders: while PostgreSQL or the workers are unavailable, orders are accepted and confirmed later. 503 also while the process drains.';
  app.get(
    '/health/ready',
    describe('This process can take orders', { 200: StatusSchema, 503: StatusSchema }, readiness),
    async (_request, reply) => {
      const ready = !app.isDraining() && (await answers('redis'));
      return reply.code(ready ? 200 : 503).send(status(ready));
    },
  );
};
