/**
 * A sale over Redis Sentinel and over a Redis Cluster, in whose middle a master dies, hangs, or gives its slot away: for how long nothing is
 * accepted, what the failover lost, and what `npm run recover:orders` brought back. With --write the page in docs/measurements is made.
 *
 *   npm run measure:failover -- [--units 5000] [--rounds 2] [--write]
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { hangMaster, killHolder, killMaster, moveSale } from '../tests/scale-out/happenings.ts';
import { type SaleEnd, sellThrough, type Underway } from '../tests/scale-out/sell-through.ts';
import { type RedisCluster, startRedisCluster } from '../tests/support/redis-cluster.ts';
import { MIN_REPLICAS, startWatchedRedis, type WatchedRedis } from '../tests/support/redis-sentinel.ts';
import { makeTemplate } from '../tests/support/world.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments, usageOf } from './read-arguments.ts';

type Kind = {
  readonly name: string;
  readonly recovers?: 'in a pause';
} & (
  | { readonly engine: 'cluster'; happens(cluster: RedisCluster, underway: Underway): Promise<unknown> }
  | {
      readonly engine: 'sentinel';
      readonly config: readonly string[];
      happens(watched: WatchedRedis, underway: Underway): Promise<unknown>;
    }
);

const KINDS: readonly Kind[] = [
  { name: 'Cluster: its master killed', engine: 'cluster', happens: killHolder },
  { name: 'Cluster: its slot moved', engine: 'cluster', happens: moveSale },
  {
    name: 'Sentinel: master killed',
    engine: 'sentinel',
    config: MIN_REPLICAS,
    happens: (watched, underway) => killMaster(watched, underway, false),
  },
  { name: 'Sentinel: master hung, and woke', engine: 'sentinel', config: MIN_REPLICAS, happens: hangMaster },
  { name: 'the same without `min-replicas-to-write`', engine: 'sentinel', config: [], happens: hangMaster },
  {
    name: 'Sentinel: master killed, its replicas a second behind',
    engine: 'sentinel',
    config: MIN_REPLICAS,
    happens: (watched, underway) => killMaster(watched, underway, true),
  },
  {
    name: 'the same, and the sale is paused for `recover:orders`',
    engine: 'sentinel',
    config: MIN_REPLICAS,
    happens: (watched, underway) => killMaster(watched, underway, true),
    recovers: 'in a pause',
  },
];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const distFolder = join(root, '.data', 'redis-dist');
const { values } = readArguments(import.meta.url, {
  options: {
    units: { type: 'string', default: '5000' },
    rounds: { type: 'string', default: '2' },
    write: { type: 'boolean', default: false },
  },
});
const [units, rounds] = [Number(values.units), Number(values.rounds)];
if (!(Number.isInteger(units) && units >= 1_000 && Number.isInteger(rounds) && rounds >= 1)) {
  process.stderr.write(`--units is 1000 or more, --rounds 1 or more.\n${usageOf(import.meta.url)}\n`);
  process.exit(2);
}

/** @throws where more was confirmed than there is, an accepted order has no end, or the audit finds fault */
async function measure(kind: Kind, template: string): Promise<SaleEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-failover-'));
  const sell = (redisUrl: string, happens: (underway: Underway) => Promise<unknown>): Promise<SaleEnd> =>
    sellThrough({
      template,
      redisUrl,
      units,
      after: units * 0.4,
      happens: async (underway) => void (await happens(underway)),
      ...(kind.recovers ? { recovers: kind.recovers } : {}),
    });
  let engine: { stop(): Promise<void> } | undefined;
  try {
    let end: SaleEnd;
    if (kind.engine === 'cluster') {
      const cluster = await startRedisCluster({ folder, distFolder, masters: 3, replicas: 3 });
      engine = cluster;
      end = await sell(cluster.url, (underway) => kind.happens(cluster, underway));
    } else {
      const { config } = kind;
      const watched = await startWatchedRedis({ folder, distFolder, replicas: 2, sentinels: 3, config });
      engine = watched;
      end = await sell(watched.url, (underway) => kind.happens(watched, underway));
    }
    if (end.confirmed > units) throw new Error(`oversold: ${end.confirmed} of ${units}`);
    if (end.forgotten > 0) throw new Error(`${end.forgotten} accepted orders have no end`);
    if (end.lost > end.atRisk) throw new Error(`${end.lost} lost, of ${end.atRisk} that were at risk`);
    if (end.faults.length > 0) throw new Error(`the audit finds fault: ${end.faults.join(', ')}`);
    return end;
  } finally {
    await engine?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function page(all: ReadonlyMap<Kind, readonly SaleEnd[]>): string {
  const rows = [...all].map(([kind, ends]) => {
    const list = (of: (end: SaleEnd) => string | number): string => ends.map(of).join(' · ');
    const oversold = (end: SaleEnd): number => Math.max(0, end.confirmed - units);
    return `| ${kind.name} | ${list((end) => (end.closedMs / 1_000).toFixed(2))} | ${list((end) => end.accepted)} | ${list((end) => end.atRisk)} | ${list((end) => end.lost)} | ${list((end) => end.broughtBack)} | ${list((end) => end.rejected)} | ${list((end) => end.confirmed)} | ${list(oversold)} |`;
  });
  return `# A failover in the middle of a sale

A sale of ${units.toLocaleString('en')} units, one a buyer, with two API processes and two workers. The cluster has three masters and three replicas
(\`cluster-node-timeout 2000\`), Sentinel a master, two replicas and three sentinels (\`down-after-milliseconds 1000\`, \`min-replicas-to-write 1\`,
\`min-replicas-max-lag 2\`). Once two fifths are confirmed it happens; where a master is killed, the workers are frozen for 0.3 s before, so that
some orders are in Redis only. Whoever is told 503 asks again 20 ms later. When everything is sold out and settled, \`npm run recover:orders\`
is typed with the logs of both API processes, then the audit. ${rounds} rounds of each, one behind the other.

| what happens | closed, s | accepted | at risk | lost by Redis | brought back | rejected | confirmed in the end | oversold |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

- _Closed_: the longest time without an accepted order, from then on; the sentinels' or the nodes' own waiting (1 s, 2 s) is in it, and in the last
  row the pause.
- _Accepted_: by the crowd's replies. What the woken master accepts of 200 further buyers is not in it, and may be confirmed, too.
- _At risk_: accepted when it happened and not in the ledger yet, and replies that were on their way: the bound of what can be lost.
- _Lost by Redis_: accepted orders that were in neither place once all was settled. _Brought back_: of these, confirmed by \`recover:orders\` under the
  ids that their buyers have; _rejected_: no unit was left for them (\`NO_ROOM_AFTER_LOSS\`). Typed while the sale is paused, all find one.
- Never more than ${units.toLocaleString('en')} confirmed, no accepted order without an end, no more lost than was at risk, the audit clean: otherwise the command
  fails.

${measuredBy(`pnpm measure:failover --units ${units} --rounds ${rounds} --write`)}`;
}

const folder = mkdtempSync(join(tmpdir(), 'flash-sale-failovers-'));
// PostgreSQL runs under another account when we are root.
chmodSync(folder, 0o711);
const servers = await startPrivateServers({ folder, distFolder });
try {
  process.env.TEST_REDIS_URL = servers.redisUrl;
  process.env.TEST_DATABASE_URL = servers.databaseUrl;
  const template = await makeTemplate();
  const all = new Map<Kind, SaleEnd[]>(KINDS.map((kind) => [kind, []]));
  for (let round = 0; round < rounds; round++) {
    for (const kind of KINDS) {
      const end = await measure(kind, template.name);
      all.get(kind)?.push(end);
      process.stdout.write(
        `${kind.name}: closed ${end.closedMs.toFixed(0)} ms, ${end.accepted} accepted, ${end.lost} of ${end.atRisk} at risk lost by Redis, ${end.broughtBack} brought back, ${end.rejected} rejected, ${end.confirmed} confirmed\n`,
      );
    }
  }
  if (values.write) {
    mkdirSync(join(root, 'docs', 'measurements'), { recursive: true });
    writeFileSync(join(root, 'docs', 'measurements', 'failover.md'), page(all));
  }
} finally {
  await servers.stop();
  rmSync(folder, { recursive: true, force: true });
}
