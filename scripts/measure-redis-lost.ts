/**
 * A sale in whose middle Redis loses something, measured: for how long nothing is admitted, which accepted orders Redis lost, and what became
 * of them once `npm run recover:orders` was typed. With --write the page in docs/measurements is made.
 *
 *   npm run measure:redis-lost -- [--units 5000] [--rounds 3] [--write]
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { type Loss, loseRedis } from '../tests/support/redis-loss.ts';
import { makeTemplate } from '../tests/support/world.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

type Kind = { readonly name: string; readonly loss: Loss; readonly appendfsync: 'always' | 'everysec' };

const KINDS: readonly Kind[] = [
  { name: 'killed and started again, `always`', loss: 'restart', appendfsync: 'always' },
  { name: 'killed and started again, `everysec`', loss: 'restart', appendfsync: 'everysec' },
  { name: 'started with the file of a second ago', loss: 'restored', appendfsync: 'everysec' },
  { name: 'a replica takes over, a second behind', loss: 'failover', appendfsync: 'everysec' },
  { name: '`FLUSHALL`', loss: 'flushall', appendfsync: 'everysec' },
];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = readArguments(import.meta.url, {
  options: {
    units: { type: 'string', default: '5000' },
    rounds: { type: 'string', default: '3' },
    write: { type: 'boolean', default: false },
  },
});
const [units, rounds] = [Number(values.units), Number(values.rounds)];

interface Measured {
  readonly kind: Kind;
  readonly closedMs: number;
  readonly rebuiltMs: number;
  readonly accepted: number;
  readonly lost: number;
  readonly confirmed: number;
  readonly rejected: number;
}

async function measure(kind: Kind, template: string): Promise<Measured> {
  const distFolder = join(root, '.data', 'redis-dist');
  const run = await loseRedis({ template, units, after: units / 2, distFolder, ...kind });
  try {
    await run.settled();
    const { world } = run;
    const words = async (): Promise<Map<string, string>> => {
      const { rows } = await world.pool.query('SELECT id, status FROM orders');
      return new Map(rows.map((row) => [row.id, row.status]));
    };
    const before = await words();
    const lost = [...run.accepted].filter((id) => !before.has(id)).length;
    await promisify(execFile)(process.execPath, [join(root, 'scripts', 'recover-orders.ts'), run.logFile], {
      env: {
        PATH: process.env.PATH,
        REDIS_URL: world.redisUrl,
        DATABASE_URL: world.databaseUrl,
        KEY_PREFIX: world.prefix,
      },
    });
    const after = await words();
    const confirmed = [...after.values()].filter((word) => word === 'confirmed').length;
    if (confirmed > units) throw new Error(`oversold: ${confirmed} of ${units}`);
    if ([...run.accepted].some((id) => !after.has(id))) throw new Error('an accepted order has no end');
    const { closedMs, rebuiltMs, accepted } = run;
    return { kind, closedMs, rebuiltMs, accepted: accepted.size, lost, confirmed, rejected: after.size - confirmed };
  } finally {
    await run.close();
  }
}

function page(all: readonly Measured[]): string {
  const seconds = (milliseconds: number): string => (milliseconds / 1_000).toFixed(2);
  const rows = KINDS.map((kind) => {
    const ofKind = all.filter((one) => one.kind === kind);
    const list = (of: (one: Measured) => string | number): string => ofKind.map(of).join(' · ');
    return `| ${kind.name} | ${list((one) => seconds(one.closedMs))} | ${list((one) => seconds(one.rebuiltMs))} | ${list((one) => one.accepted)} | ${list((one) => one.lost)} | ${list((one) => one.confirmed)} | ${list((one) => one.rejected)} |`;
  });
  return `# Redis lost in the middle of a sale

A sale of ${units.toLocaleString('en')} units, one a buyer. Once half of them are confirmed the worker is frozen for 0.3 s, so that some orders are
in Redis only, and then Redis loses something. The crowd goes on: whoever is told 503 asks again 20 ms later. When everything is sold
out and settled, \`npm run recover:orders\` is typed with the API's log. ${rounds} rounds of each, one behind the other.

| Redis is | closed, s | of that rebuilding, s | accepted | lost by Redis | confirmed in the end | rejected in the end |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

- _Closed_: from the loss to the sending of the first order that is accepted after it; the time that Redis needs to start is in it. _Rebuilding_:
  from a worker's first look at the closed inventory until it was open, as \`inventory_epochs\` has it.
- _Lost by Redis_: accepted orders that were in neither place once all was settled. The command finds every one of them. Here the sale was
  sold out by then, so most found no unit any more and were rejected (\`NO_ROOM_AFTER_LOSS\`); typed while the sale is paused they find one.
- Never more than ${units.toLocaleString('en')} confirmed, and no accepted order without an end: otherwise the command fails.

${measuredBy(`pnpm measure:redis-lost --units ${units} --rounds ${rounds} --write`)}`;
}

const folder = mkdtempSync(join(tmpdir(), 'flash-sale-lost-'));
// PostgreSQL runs under another account when we are root.
chmodSync(folder, 0o711);
const servers = await startPrivateServers({ folder, distFolder: join(root, '.data', 'redis-dist') });
try {
  process.env.TEST_REDIS_URL = servers.redisUrl;
  process.env.TEST_DATABASE_URL = servers.databaseUrl;
  const template = await makeTemplate();
  const all: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const kind of KINDS) {
      const measured = await measure(kind, template.name);
      all.push(measured);
      const { closedMs, accepted, lost, confirmed, rejected } = measured;
      process.stdout.write(
        `${kind.name}: closed ${closedMs.toFixed(0)} ms, ${accepted} accepted, ${lost} lost by Redis, ${confirmed} confirmed, ${rejected} rejected\n`,
      );
    }
  }
  if (values.write) {
    mkdirSync(join(root, 'docs', 'measurements'), { recursive: true });
    writeFileSync(join(root, 'docs', 'measurements', 'redis-lost.md'), page(all));
  }
} finally {
  await servers.stop();
  rmSync(folder, { recursive: true, force: true });
}
