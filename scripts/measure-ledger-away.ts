/**
 * PostgreSQL is away for minutes while orders go on coming: what the crowd is told, what waits, and how long it takes until all is confirmed
 * once it is back. Fails where an order is lost, an attempt is used up, or the end takes longer than 30 s. With --write the page in
 * docs/measurements is made.
 *
 *   npm run measure:ledger-away -- [--minutes 5] [--rate 250] [--write]
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { TcpProxy } from '../tests/chaos/tcp-proxy.ts';
import { freePort } from '../tests/support/free-port.ts';
import { startProcess } from '../tests/support/running-system.ts';
import { makeSale } from '../tests/support/sales.ts';
import { eventually, makeTemplate, openWorld } from '../tests/support/world.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const PROMISED_MS = 30_000;
const REQUEST_TIMEOUT_MS = 2_000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = readArguments(import.meta.url, {
  options: {
    minutes: { type: 'string', default: '5' },
    rate: { type: 'string', default: '250' },
    write: { type: 'boolean', default: false },
  },
});
const [minutes, rate] = [Number(values.minutes), Number(values.rate)];

interface Reply {
  readonly at: number;
  readonly code: string;
  readonly milliseconds: number;
}

/** Orders at a steady rate, whatever the replies: an open loop, so that a slow reply does not slow the crowd. */
function crowd(url: string, saleId: string) {
  const replies: Reply[] = [];
  let number = 0;
  let open = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < rate / 50; i++) {
      const at = performance.now();
      open += 1;
      fetch(`${url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers: { 'x-user-id': `buyer-${number++}` } })
        .then((response) => response.json() as Promise<{ code?: string; status?: string }>)
        .then(
          (body) => replies.push({ at, code: body.code ?? String(body.status), milliseconds: performance.now() - at }),
          () => replies.push({ at, code: 'BROKEN', milliseconds: performance.now() - at }),
        )
        .finally(() => (open -= 1));
    }
  }, 20);
  return {
    replies,
    async stop() {
      clearInterval(timer);
      await eventually('the last replies are there', 20_000, () => open === 0);
    },
  };
}

function summary(replies: readonly Reply[]): { words: string; p50: string; p99: string; most: string } {
  const tally: Record<string, number> = {};
  for (const { code } of replies) tally[code] = (tally[code] ?? 0) + 1;
  const sorted = replies.map((reply) => reply.milliseconds).sort((a, b) => a - b);
  const at = (part: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0).toFixed(0);
  const words = Object.entries(tally).map(([code, count]) => `${count} × ${code}`);
  return { words: words.join(', '), p50: at(0.5), p99: at(0.99), most: at(1) };
}

const folder = mkdtempSync(join(tmpdir(), 'flash-sale-away-'));
// PostgreSQL runs under another account when we are root.
chmodSync(folder, 0o711);
const servers = await startPrivateServers({ folder, distFolder: join(root, '.data', 'redis-dist') });
let failed = false;
try {
  process.env.TEST_REDIS_URL = servers.redisUrl;
  process.env.TEST_DATABASE_URL = servers.databaseUrl;
  const world = await openWorld((await makeTemplate()).name);
  const sale = await makeSale(world, { units: 500_000 });
  const address = new URL(world.databaseUrl);
  const way = await TcpProxy.listen(await freePort(), Number(address.port));
  address.port = String(way.port);
  const port = await freePort();
  const settings = {
    DATABASE_URL: address.href,
    REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
    ORPHAN_AGE_MS: '10000',
    REAPER_INTERVAL_MS: '2000',
  };
  const api = await startProcess(world, 'api', { ...settings, PORT: String(port) });
  const worker = await startProcess(world, 'worker', settings);
  const url = `http://127.0.0.1:${port}`;
  const buyers = crowd(url, sale.id);
  await new Promise((resolve) => setTimeout(resolve, 10_000));

  const awayAt = performance.now();
  await way.refuse();
  await new Promise((resolve) => setTimeout(resolve, minutes * 60_000));
  const health = (await (await fetch(`${url}/health`)).json()) as { unavailable: string[]; breakers: object };
  const waiting = Number(await world.redis.hget(world.keys.sale(sale.id).inventory, 'reserved'));
  const jobs = await world.redis.llen(`${world.keys.queuePrefix}:confirm-orders:wait`);
  const memory = /used_memory_human:(\S+)/.exec(await world.redis.info('memory'))?.[1];
  await way.accept();
  const backAt = performance.now();
  const rows = async (): Promise<number> =>
    (await world.pool.query(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed'`)).rows[0].n;
  const acceptedBefore = (): number =>
    buyers.replies.filter((reply) => reply.code === 'accepted' && reply.at < backAt).length;
  await eventually('all that waited is confirmed', 120_000, async () => (await rows()) >= acceptedBefore());
  const caughtUpMs = performance.now() - backAt;
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  await buyers.stop();
  const accepted = buyers.replies.filter((reply) => reply.code === 'accepted').length;
  await eventually('all is confirmed', 60_000, async () => (await rows()) === accepted);
  const attempts = worker.output().split('an attempt at a job failed').length - 1;

  const before = summary(buyers.replies.filter((reply) => reply.at < awayAt));
  const during = summary(buyers.replies.filter((reply) => reply.at >= awayAt && reply.at < backAt));
  const after = summary(buyers.replies.filter((reply) => reply.at >= backAt));
  failed = caughtUpMs > PROMISED_MS || attempts > 0;
  const lines = [
    `| before, 10 s | ${before.words} | ${before.p50} / ${before.p99} / ${before.most} |`,
    `| away, ${minutes} minutes | ${during.words} | ${during.p50} / ${during.p99} / ${during.most} |`,
    `| back | ${after.words} | ${after.p50} / ${after.p99} / ${after.most} |`,
  ];
  const facts = [
    `- As it came back ${waiting.toLocaleString('en')} orders waited, in ${jobs.toLocaleString('en')} jobs; Redis used ${memory}.`,
    `- \`/health\` said: unavailable ${JSON.stringify(health.unavailable)}, breakers ${JSON.stringify(health.breakers)}.`,
    `- ${(caughtUpMs / 1_000).toFixed(1)} s after it was back all that had waited was confirmed, while the crowd went on. Attempts used up: ${attempts}.`,
    `- Of ${accepted.toLocaleString('en')} accepted orders ${(await rows()).toLocaleString('en')} are confirmed.`,
  ];
  process.stdout.write(`${[...lines, ...facts].join('\n')}\n`);
  if (values.write) {
    mkdirSync(join(root, 'docs', 'measurements'), { recursive: true });
    writeFileSync(
      join(root, 'docs', 'measurements', 'ledger-away.md'),
      `# The ledger away for ${minutes} minutes

${rate} orders a second at a steady rate, from different buyers, before, during and after PostgreSQL refuses every connection. \`BACKLOG_LIMIT\` is
50,000 orders of a sale, \`REQUEST_TIMEOUT_MS\` ${REQUEST_TIMEOUT_MS}. One API process, one worker; crowd, both servers and both processes share the machine.

| | replies | reply p50 / p99 / most, ms |
| --- | --- | --- |
${lines.join('\n')}

${facts.join('\n')}

${measuredBy(`pnpm measure:ledger-away --minutes ${minutes} --rate ${rate} --write`)}`,
    );
  }
  await Promise.all([api.kill(), worker.kill()]);
  await way.close();
  await world.close();
} finally {
  await servers.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
