/** Whether the process lives, whether it can take orders, and whether every part answers. */

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { HEALTH_MEMORY_MS, HEALTH_TIMEOUT_MS } from '@flash-sale/core/config/limits.ts';
import type { Breaker } from '@flash-sale/core/runtime/circuit-breaker.ts';
import { Type } from '@sinclair/typebox';

type Probes = Record<'redis' | 'postgres' | 'worker', () => Promise<void>>;

const PartSchema = Type.Union([Type.Literal('ok'), Type.Literal('does not answer')]);
const BreakerSchema = Type.Union([Type.Literal('closed'), Type.Literal('open'), Type.Literal('half_open')]);
const HealthSchema = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]),
  parts: Type.Object({ redis: PartSchema, postgres: PartSchema, worker: PartSchema }),
  breakers: Type.Object(
    { redis: BreakerSchema, postgres: BreakerSchema },
    { description: 'Of this process. open: calls to the part are refused at once, until it answers again.' },
  ),
  unavailable: Type.Array(Type.String(), { description: 'Names of the parts that do not answer.' }),
});

export const healthRoutes: FastifyPluginAsyncTypebox<{
  probes: Probes;
  breakers: Record<'redis' | 'postgres', Pick<Breaker, 'state'>>;
}> = async (app, { probes, breakers }) => {
  const remembered = new Map<string, { askedAt: number; answer: Promise<boolean> }>();

  /** Asks a part at most once within HEALTH_MEMORY_MS, however many probes come, and gives it HEALTH_TIMEOUT_MS. */
  function answers(part: keyof Probes): Promise<boolean> {
    const known = remembered.get(part);
    if (known && Date.now() - known.askedAt < HEALTH_MEMORY_MS) return known.answer;
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, HEALTH_TIMEOUT_MS, false).unref());
    const answer = Promise.race([
      probes[part]().then(
        () => true,
        () => false,
      ),
      late,
    ]);
    remembered.set(part, { askedAt: Date.now(), answer });
    return answer;
  }

  const word = (ok: boolean): 'ok' | 'does not answer' => (ok ? 'ok' : 'does not answer');

  app.get(
    '/health',
    { schema: { tags: ['health'], summary: 'Every part', response: { 200: HealthSchema, 503: HealthSchema } } },
    async (_request, reply) => {
      const [redis, postgres, worker] = await Promise.all([answers('redis'), answers('postgres'), answers('worker')]);
      const unavailable = Object.entries({ redis, postgres, worker }).flatMap(([name, ok]) => (ok ? [] : [name]));
      reply.code(unavailable.length === 0 ? 200 : 503);
      return {
        status: unavailable.length === 0 ? ('ok' as const) : ('unavailable' as const),
        parts: { redis: word(redis), postgres: word(postgres), worker: word(worker) },
        breakers: { redis: breakers.redis.state(), postgres: breakers.postgres.state() },
        unavailable,
      };
    },
  );

  const StatusSchema = Type.Object({ status: Type.Union([Type.Literal('ok'), Type.Literal('unavailable')]) });

  app.get(
    '/health/live',
    { schema: { tags: ['health'], summary: 'The process lives', response: { 200: StatusSchema } } },
    async () => ({ status: 'ok' as const }),
  );

  app.get(
    '/health/ready',
    {
      schema: {
        tags: ['health'],
        summary: 'This process can take orders',
        description:
          'Needs Redis only: orders are taken while the ledger or the workers are away, and confirmed later. 503 also while the process goes out of service.',
        response: { 200: StatusSchema, 503: StatusSchema },
      },
    },
    async (_request, reply) => {
      const ready = !app.isDraining() && (await answers('redis'));
      reply.code(ready ? 200 : 503);
      return { status: ready ? ('ok' as const) : ('unavailable' as const) };
    },
  );
};
