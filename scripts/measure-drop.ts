/**
 * The main job on real input, measured: a crowd of different buyers against a sale with few units, three times: left alone,
 * with the API killed in the middle, with the worker killed in the middle. Each on a system of its own in a temporary folder.
 * Fails where anything is lost, sold twice, or not ended within 30 s. With --write the page in docs/measurements is made.
 *
 *   npm run measure:drop -- [--buyers 20000] [--units 1000] [--connections 200] [--write]
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type PrivateServers, startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { System } from '@flash-sale/launcher/start-system.ts';
import pg from 'pg';
import { type CrowdReport, percentile, sendCrowd } from '../tests/support/crowd.ts';
import { freePort } from '../tests/support/free-port.ts';
import { readDropArguments } from './drop-arguments.ts';
import { measuredBy } from './measured-by.ts';

const PROMISED_MS = 30_000;
const ADMIN_TOKEN = 'measured-and-thrown-away';
const SALE_ID = 'drop';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { buyers, units, connections, write } = readDropArguments(import.meta.url);

interface Measured {
  readonly run: string;
  readonly crowd: CrowdReport;
  /** Milliseconds from the last reply (or, where a process was killed later, from then) until no order was under way. */
  readonly settledMs: number;
  readonly available: number;
  readonly confirmedRows: number;
  readonly faults: readonly string[];
}

type Numbers = { available: number; reserved: number; sold: number; allotment: number };

async function numbers(url: string): Promise<Numbers | null> {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const response = await fetch(`${url}/api/admin/sales/${SALE_ID}`, { headers }).catch(() => null);
  return response?.ok ? ((await response.json()) as Numbers) : null;
}

async function makeSale(url: string): Promise<void> {
  const now = Date.now();
  const response = await fetch(`${url}/api/admin/sales`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      product_id: SALE_ID,
      name: 'The drop',
      original_price: '199.99',
      flash_sale_price: '99.99',
      units,
      per_buyer_limit: 1,
      starts_at: new Date(now - 1_000).toISOString(),
      ends_at: new Date(now + 3_600_000).toISOString(),
    }),
  });
  if (response.status !== 201) throw new Error(`the sale was not made: ${response.status} ${await response.text()}`);
}

/** @param victim name of the process in running.json that is killed once a third of the units are accepted */
async function measure(run: string, victim: string | null): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-drop-'));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  mkdirSync(join(folder, 'servers'));
  chmodSync(join(folder, 'servers'), 0o711);
  const stopping = new AbortController();
  let servers: PrivateServers | undefined;
  let system: System | undefined;
  try {
    servers = await startPrivateServers({
      folder: join(folder, 'servers'),
      distFolder: join(root, '.data', 'redis-dist'),
    });
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const given = {
      ...process.env,
      NODE_ENV: 'production',
      AUTH: 'header',
      HOST: '127.0.0.1',
      PORT: String(port),
      REDIS_URL: servers.redisUrl,
      DATABASE_URL: servers.databaseUrl,
      ADMIN_TOKEN,
      // Not that of the servers: a start ends whatever an earlier one left behind in its folder.
      DATA_DIR: join(folder, 'system'),
    };
    system = new System({ root, given, say: () => {}, signal: stopping.signal });
    await system.start();
    await makeSale(url);
    return await judge(run, url, servers.databaseUrl, await crowdAgainst(url, folder, victim));
  } finally {
    await system?.stop();
    await servers?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function crowdAgainst(url: string, folder: string, victim: string | null): Promise<CrowdReport> {
  let killed = victim === null;
  return sendCrowd({
    url,
    saleId: SALE_ID,
    buyers,
    connections,
    again: true,
    whenReplied: (count) => {
      if (killed || count < units / 3) return;
      killed = true;
      const running = JSON.parse(readFileSync(join(folder, 'system', 'running.json'), 'utf8')) as {
        processes: Record<string, number>;
      };
      process.kill(running.processes[victim as string] as number, 'SIGKILL');
    },
  });
}

async function judge(run: string, url: string, databaseUrl: string, crowd: CrowdReport): Promise<Measured> {
  const endedAt = performance.now();
  let now = await numbers(url);
  while ((!now || now.reserved > 0) && performance.now() - endedAt < PROMISED_MS) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    now = await numbers(url);
  }
  const settledMs = performance.now() - endedAt;
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const { rows } = await client.query<{ id: string; buyer_id: string }>(
    `SELECT id, buyer_id FROM orders WHERE sale_id = $1 AND status = 'confirmed'`,
    [SALE_ID],
  );
  await client.end();

  const confirmed = new Map(rows.map((row) => [row.id, row.buyer_id]));
  const accepted = crowd.replies.filter((reply) => reply.status === 200);
  const faults: string[] = [];
  const must = (holds: boolean, what: string): void => void (holds || faults.push(what));
  must(now?.reserved === 0, `orders were still under way after ${PROMISED_MS} ms`);
  must(rows.length === units, `${rows.length} confirmed, not ${units}`);
  must(new Set(confirmed.values()).size === rows.length, 'a buyer has two orders');
  must(now?.available === 0 && now.sold === units, `the inventory says ${JSON.stringify(now)}`);
  must(
    accepted.every((reply) => confirmed.get(reply.orderId ?? '') === reply.buyerId),
    'an accepted order is not confirmed',
  );
  for (const [reply, count] of Object.entries(crowd.tally)) {
    const fine = reply === '200 accepted' || reply === '0 BROKEN' || /^(400|429) [A-Z_]+$/.test(reply);
    must(fine, `${count} replies were ${reply}`);
  }
  return {
    run,
    crowd,
    settledMs,
    available: now?.available ?? -1,
    confirmedRows: rows.length,
    faults,
  };
}

function page(results: readonly Measured[]): string {
  const table = results.map(({ run, crowd, settledMs, available, confirmedRows }) => {
    const replies = Object.entries(crowd.tally)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([reply, count]) => `${count} × ${reply}`)
      .join('<br>');
    const [p50, p99] = [percentile(crowd.replies, 0.5), percentile(crowd.replies, 0.99)].map((ms) => ms.toFixed(0));
    return `| ${run} | ${replies} | ${confirmedRows} | ${available} | ${crowd.seconds.toFixed(1)} s | ${p50} / ${p99} ms | ${(settledMs / 1_000).toFixed(2)} s |`;
  });
  return `# A whole drop

${buyers.toLocaleString('en')} different buyers order once each, over ${connections} connections, from a sale of ${units.toLocaleString('en')} units, one a buyer. A
buyer whose connection breaks asks again. Everything shares the machine: the crowd, the API, the worker, Redis (AOF every
second) and PostgreSQL. Limits stand at their defaults (2,000 orders a second for the whole system, so that most of the crowd is
told 429 or "sold out").

| run | replies | rows confirmed | units left | crowd took | reply p50 / p99 | last reply → all in the ledger |
| --- | --- | --- | --- | --- | --- | --- |
${table.join('\n')}

\`0 BROKEN\` are connections that broke as the API was killed: those buyers knew nothing and asked again. Whoever held a unit
by then is told \`BUYER_LIMIT\`, and the order is in the ledger. In each run every reply of 200 has its row in the ledger, of
that buyer, under that order id; no buyer has two.

${measuredBy(`pnpm measure:drop --buyers ${buyers} --units ${units} --connections ${connections} --write`)}`;
}

const results: Measured[] = [];
for (const [run, victim] of [
  ['left alone', null],
  ['SIGKILL of the API', 'api-1'],
  ['SIGKILL of the worker', 'worker-1'],
] as const) {
  const measured = await measure(run, victim);
  results.push(measured);
  const { crowd, settledMs, confirmedRows, available, faults } = measured;
  process.stdout.write(
    `${run}: ${JSON.stringify(crowd.tally)}, ${confirmedRows} rows confirmed, ${available} units left, `,
  );
  process.stdout.write(`all in the ledger ${(settledMs / 1_000).toFixed(2)} s after the last reply\n`);
  for (const fault of faults) process.stdout.write(`  FAULT: ${fault}\n`);
}
if (write) {
  mkdirSync(join(root, 'docs', 'measurements'), { recursive: true });
  writeFileSync(join(root, 'docs', 'measurements', 'whole-drop.md'), page(results));
}
process.exit(results.some((result) => result.faults.length > 0) ? 1 : 0);
