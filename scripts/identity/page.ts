/** docs/measurements/identity.md. */
import { inWords, spreadOf } from '../bench/spread.ts';
import type { AnswerHeadersCost } from './answer-headers-cost.ts';
import type { Algorithm, Round } from './order-round.ts';
import type { VerificationCost } from './verification-cost.ts';

export type Measured = Round & { readonly algorithm: Algorithm };

export function identityPage(options: {
  measured: readonly Measured[];
  verification: VerificationCost;
  answer: AnswerHeadersCost;
  rounds: number;
  orders: number;
  /** What made it. */
  by: string;
}): string {
  const { measured, verification, answer, rounds, orders, by } = options;
  const header = spreadOf(measured.flatMap(({ before, after }) => [before.cpuUs, after.cpuUs]));
  const rows = [...Map.groupBy(measured, ({ algorithm }) => algorithm)].map(([algorithm, turns]) => {
    const ratio = (which: 'fresh' | 'seen'): string =>
      inWords(spreadOf(turns.map((turn) => turn[which].rate / ((turn.before.rate + turn.after.rate) / 2))));
    const cpu = (which: 'fresh' | 'seen'): string => inWords(spreadOf(turns.map((turn) => turn[which].cpuUs)), 0);
    const { fresh, seen } = verification[algorithm];
    return `| ${algorithm} | ${ratio('fresh')} | ${ratio('seen')} | ${cpu('fresh')} | ${cpu('seen')} | ${inWords(fresh, 0)} | ${inWords(seen, 1)} |`;
  });
  const { difference, noise } = answer;
  const isNoise = difference.min <= 0 || difference.median <= noise.median;
  const outcome = isNoise ? 'That is noise: no cost can be told from it.' : 'That is more than noise.';
  return `# What it costs to know a buyer

The median of ${rounds} turns, and in brackets the lowest and the highest. The machine was shared: by crowd, API, worker, Redis and PostgreSQL, and by other work. So only what was
taken in turns, and the ratios, say something.

## Orders

\`AUTH=jwt\` ÷ \`AUTH=header\`: accepted orders a second of two API processes on the same Redis and PostgreSQL, over 64 connections, ${orders.toLocaleString('en')} orders a turn. Each turn is
\`header\`, fresh tokens, the same tokens again, \`header\`; the ratio is to the mean of the two. _µs an order_ is the processor time of the API process, all of it; with \`AUTH=header\` it was
${inWords(header, 0)}. _µs a verification_ is the judge alone, all threads, in a process of its own.

| signed with | fresh ÷ header | seen ÷ header | µs an order, fresh | µs an order, seen | µs a verification | µs, remembered |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

The crowd is a Node process on the same cores, which sends a token of some 300 to 600 bytes with each order: a part of what a token costs is its way.

## The headers of every answer

\`Cache-Control: private, no-store\` and \`X-Content-Type-Options: nosniff\`: a Fastify with the plugin and one without it, 10,000 requests a turn, without a network. ${inWords(answer.difference)} µs of
processor time a request, of ${inWords(answer.without, 1)} µs; two turns of the one without it lie ${inWords(answer.noise)} µs apart. ${outcome}

${by}`;
}
