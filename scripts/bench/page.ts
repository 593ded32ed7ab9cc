/** docs/measurements/speed.md: the figures in tables, each beside what is asked of it. */
import type { ClosedResult, Kind } from './closed-rounds.ts';
import type { ClusterNode } from './cluster.ts';
import { PRESSURE_IN_FLIGHT } from './open-rounds.ts';
import type { BenchResults } from './results.ts';
import { inWords, type Spread } from './spread.ts';

const KINDS: Record<Kind, string> = {
  accepted: 'accepted orders',
  sold_out: 'refused: sold out',
  limited: 'refused: asks too often',
  replayed: 'replayed with an Idempotency-Key',
};

export function page(results: BenchResults): string {
  return `# Speed

Every figure is a ratio within one run, or CPU time for an order: absolute ones say little on machines that are shared. _Bare_ is Fastify as it
comes (\`scripts/bench/bare-server.ts\`): it answers a POST of the same request with a reply of the same shape, validates the one and
serialises the other by a schema, has the same logger, and nothing behind it. The system is whole and in production mode: every check is on, limits are raised so that none is reached, each
buyer may hold one unit, each order is logged, handed to the queue, confirmed in the ledger and settled while the load goes on. Crowd, API,
worker, Redis and PostgreSQL share the machine. Medians of the rounds, with the lowest and the highest in brackets.

![Requests a second and latency](speed.svg)

## What was asked for

${target(results)}

## Closed loops

${results.closed.map(closedTable).join('\n\n')}

The generator is not the bottleneck: wrk needed ${inWords(busiest(results).generatorUs, 0)} µs of CPU a request (against bare, 200 connections), so that one
core of it would ask ${Math.round(1_000_000 / busiest(results).generatorUs.median).toLocaleString('en')} times a second. It does take that time from the same two cores.

## Open loops

Requests are sent when they are due, and timed from then on; the first half second of each run is not counted. One that is refused or not answered counts as 5 s. The generator looks at its plan
once a millisecond and needs ${inWords(results.open[0]?.generatorUs as Spread, 0)} µs of CPU a request; what it is late by is in all figures, and in the ratio.

| load | p50, ms | p99, ms | bare p50, ms | bare p99, ms | p99 ÷ bare | generator late by, p99 ms |
| --- | --- | --- | --- | --- | --- | --- |
${results.open.map((one) => `| ${one.part * 100} % (${one.perSecond}/s) | ${inWords(one.p50, 1)} | ${inWords(one.p99, 1)} | ${inWords(one.bareP50, 1)} | ${inWords(one.bareP99, 1)} | ${inWords(one.ratio)} | ${inWords(one.lateP99, 1)} |`).join('\n')}

## Twice what it can give

${results.pressure.asked} requests a second over 2,000 connections, in turns with 200 connections that ask as fast as they are answered. On this system
\`OVERLOAD_IN_FLIGHT\` is ${PRESSURE_IN_FLIGHT} (everywhere else on this page its default, 5,000, which sheds later and answers later).

|  | accepted a second | p99, ms |
| --- | --- | --- |
| 200 connections, as fast as they are answered | ${inWords(results.pressure.best, 0)} | ${inWords(results.pressure.bestP99, 0)} |
| twice the capacity | ${inWords(results.pressure.accepted, 0)} | ${inWords(results.pressure.p99, 0)} |

Shed at once with 503 \`OVERLOADED\`: ${inWords({ ...results.pressure.shed, ...percent(results.pressure.shed) }, 0)} % of the requests. Without an answer: ${results.pressure.unanswered}. That is ${(results.pressure.asked / (busiest(results).bare.rate.median || 1)).toFixed(1)} times what the
bare server can answer at all with 200 connections, and the crowd alone takes ${((results.pressure.asked * (results.open[0]?.generatorUs.median ?? 0)) / 1e6).toFixed(1)} of the two cores. A request that is shed costs nearly what one of
the bare server does, most of it in the kernel's sockets; so the whole plan cannot be answered here, by anything that answers each request, and what
waits is in the times above. The rows with 500 connections in the first table ask the same of a crowd that waits for its answers.

## An order's cost

µs of CPU time for an accepted order, by the size of the sale it is in:

| orders in the sale | all | API | worker | Redis | PostgreSQL |
| --- | --- | --- | --- | --- | --- |
${results.sizes.map(({ orders, cpuUs, byPart }) => `| ${orders.toLocaleString('en')} | ${cpuUs.toFixed(1)} | ${byPart.api.toFixed(1)} | ${byPart.worker.toFixed(1)} | ${byPart.redis.toFixed(1)} | ${byPart.postgres.toFixed(1)} |`).join('\n')}

- Redis: ${results.redis.commands.toFixed(2)} commands for an order, within scripts and without, and ${results.redis.scriptCalls.toFixed(3)} calls of scripts; ${results.redis.aofBytes.toFixed(0)} bytes of its file; ${results.redis.ledgerBytes.toFixed(0)} bytes of the ledger.
- Memory of Redis: ${results.memory.inInventory.toFixed(0)} bytes for an order that is reserved (its reservation), ${results.memory.perLiveOrder.toFixed(0)} with what its buyer holds and its part of a job; ${results.memory.perConfirmedOrder.toFixed(0)} for one that is confirmed (what its buyer holds). Over ${results.memory.refusals.toLocaleString('en')} refusals that asked the inventory it grew by ${results.memory.grownByRefusals} bytes. A bucket takes some 90 bytes more, for seconds.

With more processes on the same two cores (throughput cannot grow here; cost could):

| API processes | workers | API | worker | Redis | PostgreSQL | accepted ÷ bare |
| --- | --- | --- | --- | --- | --- | --- |
${results.scale.map(({ apis, workers, cpuUs, ratio }) => `| ${apis} | ${workers} | ${cpuUs.api.toFixed(1)} | ${cpuUs.worker.toFixed(1)} | ${cpuUs.redis.toFixed(1)} | ${cpuUs.postgres.toFixed(1)} | ${ratio.toFixed(2)} |`).join('\n')}

### Redis Cluster

${clusterTable(results)}

## The source document's scenarios

Its headline figures are of Flask on a machine that it does not name; they stand here as they are there. Its command lines run as they are
(\`npm run load -- <scenario> --with wrk\`).

| connections | document, req/s | document, mean ms | here: accepted/s | here: p50 / p99, ms | sold out/s |
| --- | --- | --- | --- | --- | --- |
${[
  [10, 500, 15],
  [50, 1_200, 39],
  [500, 2_500, 103],
]
  .map(([connections, perSecond, ms]) => documentRow(results, connections as number, perSecond as number, ms as number))
  .join('\n')}

Others, measured earlier on a machine of this kind in the same way (accepted ÷ bare at 50 and at 200 connections):

| system | accepted | sold out | rows in the ledger |
| --- | --- | --- | --- |
| this one | ${ratioAt(results, 50, 'accepted')} and ${ratioAt(results, 200, 'accepted')} | ${ratioAt(results, 200, 'sold_out')} (200) | ${results.drop.rate.median.toFixed(0)} a second, while the load goes on |
| lugassawan/flash-sale @86c0b93 (NestJS on Fastify, BullMQ, PostgreSQL) | 0.10 and 0.13 | 0.16 and 0.21 | 457 a second, after the load |
| Nexi77/nestjs-high-concurrency-flash-sale @eb8b562 | 0.15 and 0.17 | 0.23 and 0.26 | 224 a second |
| the source document's own code (Flask's server) | 0.02 | – | no ledger |
| its design under gunicorn | 0.05 | – | no ledger |

- Command: \`${results.command}\`
- Commit: ${results.commit}
- Machine: ${results.machine}; ${results.servers.join(', ')}
- Writing to disk: ${results.fsync}
- Generator: ${results.generator}
- Date: ${results.at}; the whole result is in [speed.json](speed.json)
`;
}

function clusterTable({ cluster }: BenchResults): string {
  const rows = cluster.map(({ masters, cpuUs, nodes }) => {
    const each = (value: (node: ClusterNode) => number, digits: number): string =>
      nodes.map((node) => value(node).toFixed(digits)).join(' + ');
    const redis = nodes.reduce((sum, node) => sum + node.cpuUs, 0);
    const name = masters === 0 ? 'one plain Redis' : `${masters} ${masters === 1 ? 'master' : 'masters'}`;
    const lies = nodes.map(({ sales, queue, window }) =>
      [`${sales} sales`, ...(queue ? ['queue'] : []), ...(window ? ['window'] : [])].join(', '),
    );
    return `| ${name} | ${cpuUs.api.toFixed(1)} | ${cpuUs.worker.toFixed(1)} | ${redis.toFixed(1)} = ${each((node) => node.cpuUs, 1)} | ${cpuUs.postgres.toFixed(1)} | ${each((node) => node.commands, 2)} | ${each((node) => node.scriptCalls, 2)} | ${lies.join(' / ')} |`;
  });
  const [first] = cluster;
  return `${first?.sales} sales that are ordered from in turn, ${first?.orders.toLocaleString('en')} orders in all, limits on; µs of CPU time and commands of Redis for an
order, node by node (those within scripts included).

| Redis | API | worker | Redis, by node | PostgreSQL | commands, by node | scripts run, by node | what lies there |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

What grows with the masters: connections (each process holds one to every master, for each of its uses), and what the nodes tell each other.
What is shared out: a sale's commands, by its slot. What is not: the queue and the system's window lie in one slot each, so that the
node that has them carries a part of every order.`;
}

function busiest(results: BenchResults): ClosedResult {
  return results.closed.find(({ connections }) => connections === 200) as ClosedResult;
}

function ratioAt(results: BenchResults, connections: number, kind: Kind): string {
  return results.closed.find((one) => one.connections === connections)?.kinds[kind]?.ratio.median.toFixed(2) ?? '–';
}

function percent({ median, min, max }: Spread): { median: number; min: number; max: number } {
  return { median: median * 100, min: min * 100, max: max * 100 };
}

function target(results: BenchResults): string {
  const at200 = busiest(results);
  const at50 = results.closed.find(({ connections }) => connections === 50);
  const half = results.open.find(({ part }) => part === 0.5);
  const sizes = results.sizes.map(({ cpuUs }) => cpuUs);
  const spread = (Math.max(...sizes) - Math.min(...sizes)) / Math.min(...sizes);
  const at500 = results.closed.find(({ connections }) => connections === 500);
  const ofAccepted = (value: (kind: { rate: Spread; p99: Spread }) => Spread): number =>
    Number(at500?.kinds.accepted && value(at500.kinds.accepted).median) /
    Number(at200?.kinds.accepted && value(at200.kinds.accepted).median);
  const rows: [what: string, asked: string, found: string, reached: boolean][] = [];
  const ratio = (what: string, least: number, found: Spread | undefined): void =>
    void rows.push([what, `≥ ${least.toFixed(2)}`, found ? inWords(found) : '–', (found?.median ?? 0) >= least]);
  ratio('accepted orders/s ÷ bare POST/s, 200 connections', 0.7, at200.kinds.accepted?.ratio);
  ratio('the same at 50 connections', 0.5, at50?.kinds.accepted?.ratio);
  ratio('sold-out refusals/s ÷ bare', 0.95, at200.kinds.sold_out?.ratio);
  ratio('limited refusals/s ÷ bare', 0.85, at200.kinds.limited?.ratio);
  ratio(
    `orders in the ledger/s over a drop of ${results.drop.units.toLocaleString('en')} ÷ bare`,
    0.55,
    results.drop.ratio,
  );
  rows.push(
    [
      'p99 of accepted at 50 % of capacity ÷ bare',
      '≤ 3',
      half ? inWords(half.ratio) : '–',
      (half?.ratio.median ?? 9) <= 3,
    ],
    [
      'CPU time an order, 1,000 to 1,000,000 in a sale',
      'within 10 %',
      `${(spread * 100).toFixed(0)} % apart`,
      spread <= 0.1,
    ],
    [
      "Redis memory a live order, in the inventory's keys",
      '≤ 300 bytes',
      `${results.memory.inInventory.toFixed(0)} bytes`,
      results.memory.inInventory <= 300,
    ],
    [
      '… with what its buyer holds and its part of a job',
      '≤ 300 bytes',
      `${results.memory.perLiveOrder.toFixed(0)} bytes`,
      results.memory.perLiveOrder <= 300,
    ],
    [
      `its growth over ${results.memory.refusals.toLocaleString('en')} refusals`,
      '0 (less than a tenth of a byte each)',
      `${results.memory.grownByRefusals} bytes`,
      results.memory.grownByRefusals < results.memory.refusals / 10,
    ],
    [
      'asked for twice its capacity: accepted ÷ the best',
      '≥ 0.90',
      (results.pressure.accepted.median / results.pressure.best.median).toFixed(2),
      results.pressure.accepted.median >= 0.9 * results.pressure.best.median,
    ],
    [
      '… p99 of the accepted ÷ that at capacity',
      '≤ 3',
      (results.pressure.p99.median / results.pressure.bestP99.median).toFixed(1),
      results.pressure.p99.median <= 3 * results.pressure.bestP99.median,
    ],
    [
      '500 connections instead of the 200 that use all of it: accepted ÷ those of 200',
      '≥ 0.90',
      ofAccepted(({ rate }) => rate).toFixed(2),
      ofAccepted(({ rate }) => rate) >= 0.9,
    ],
    ['… p99 ÷ that of 200', '≤ 3', ofAccepted(({ p99 }) => p99).toFixed(1), ofAccepted(({ p99 }) => p99) <= 3],
    [
      'API resident memory under 500 connections',
      '< 150 MB',
      `${((at500?.apiMemoryBytes ?? 0) / 1e6).toFixed(0)} MB (bare: ${((at500?.bareMemoryBytes ?? 0) / 1e6).toFixed(0)} MB)`,
      (at500?.apiMemoryBytes ?? 1e9) < 150e6,
    ],
    ['API start to ready', '< 2 s', `${(results.startMs / 1_000).toFixed(1)} s`, results.startMs < 2_000],
  );
  return `| what | asked | found | reached |
| --- | --- | --- | --- |
${rows.map(([what, asked, found, reached]) => `| ${what} | ${asked} | ${found} | ${reached ? 'yes' : 'no'} |`).join('\n')}`;
}

function closedTable(result: ClosedResult): string {
  const { connections, bare, kinds } = result;
  const rows = Object.entries(kinds).map(([kind, { rate, ratio, p50, p99, cpuUs }]) => {
    const cpu = Object.values(cpuUs)
      .map((us) => us.toFixed(1))
      .join(' + ');
    return `| ${KINDS[kind as Kind]} | ${inWords(rate, 0)} | ${inWords(ratio)} | ${inWords(p50, 1)} | ${inWords(p99, 1)} | ${cpu} |`;
  });
  const ledger = kinds.accepted
    ? `\n\nIn the ledger as the load ended: ${inWords(result.inLedgerAtEnd)} of the accepted; all settled ${inWords(result.settledMs, 0)} ms later.`
    : '';
  return `### ${connections} connections

|  | a second | ÷ bare | p50, ms | p99, ms | CPU µs each: API + worker + Redis + PostgreSQL |
| --- | --- | --- | --- | --- | --- |
| bare | ${inWords(bare.rate, 0)} | 1 | ${inWords(bare.p50, 1)} | ${inWords(bare.p99, 1)} | – |
${rows.join('\n')}${ledger}`;
}

function documentRow(results: BenchResults, connections: number, perSecond: number, ms: number): string {
  const found = results.closed.find((one) => one.connections === connections)?.kinds;
  const soldOut = found?.sold_out?.rate.median.toFixed(0) ?? '–';
  const accepted = found?.accepted;
  return `| ${connections} | ${perSecond} | ${ms} | ${accepted?.rate.median.toFixed(0) ?? '–'} | ${accepted?.p50.median.toFixed(1) ?? '–'} / ${accepted?.p99.median.toFixed(1) ?? '–'} | ${soldOut} |`;
}
