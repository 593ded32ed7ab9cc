/** What the headers that every answer carries cost: a Fastify with the plugin and one without it, asked in turns without a network in between. */
import answerHeaders from '@flash-sale/api/plugins/answer-headers.ts';
import fastify from 'fastify';
import { type Spread, spreadOf } from '../bench/spread.ts';

const REQUESTS = 10_000;

export interface AnswerHeadersCost {
  /** µs of processor time for a request. */
  readonly without: Spread;
  readonly difference: Spread;
  /** How far two turns of the very same server lie apart, µs. */
  readonly noise: Spread;
}

export async function answerHeadersUs(rounds: number): Promise<AnswerHeadersCost> {
  const make = async (carries: boolean) => {
    const app = fastify();
    if (carries) await app.register(answerHeaders);
    app.get('/', (_request, reply) => void reply.send({ status: 'ok' }));
    await app.ready();
    return app;
  };
  const [bare, carrying] = [await make(false), await make(true)];
  const usOf = async (app: typeof bare): Promise<number> => {
    const before = process.cpuUsage();
    for (let i = 0; i < REQUESTS; i++) await app.inject('/');
    const { user, system } = process.cpuUsage(before);
    return (user + system) / REQUESTS;
  };
  const [without, difference, noise]: [number[], number[], number[]] = [[], [], []];
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    const before = await usOf(bare);
    const between = await usOf(carrying);
    const after = await usOf(bare);
    if (round === 0) continue;
    without.push((before + after) / 2);
    difference.push(between - (before + after) / 2);
    noise.push(Math.abs(after - before));
  }
  await Promise.all([bare.close(), carrying.close()]);
  return { without: spreadOf(without), difference: spreadOf(difference), noise: spreadOf(noise) };
}
