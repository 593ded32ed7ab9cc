/**
 * The containers of compose.yaml, measured, in a project of their own: two APIs behind the proxy and three workers; a crowd orders from a sale, and
 * one container of each is killed in the middle. Fails where the ledger does not have exactly the units, or the audit is not clean. With --write
 * the page in docs/measurements is made. Needs Docker with compose; everything it made is taken down again, but for the images.
 *
 *   npm run measure:containers -- [--buyers 20000] [--units 1000] [--connections 200] [--write]
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { type CrowdReport, percentile, sendCrowd } from '../tests/support/crowd.ts';
import { freePort } from '../tests/support/free-port.ts';
import { readDropArguments } from './drop-arguments.ts';
import { measuredBy } from './measured-by.ts';

const PROMISED_MS = 30_000;
const COMPOSE_MS = 540_000;
const SCALE = ['--scale', 'api=2', '--scale', 'worker=3'];
const IMAGES = ['flash-sale-api', 'flash-sale-worker', 'flash-sale-proxy'];

const root = fileURLToPath(new URL('..', import.meta.url));
const { buyers, units, connections, write } = readDropArguments(import.meta.url);
const saleId = 'drop';
const project = `flash-sale-measured-${randomBytes(4).toString('hex')}`;
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
const token = randomBytes(24).toString('base64url');
const env = { ...process.env, HOST: '127.0.0.1', PORT: String(port), ADMIN_TOKEN: token };

/** What was typed, and what came of it. */
const transcript: string[] = [];

async function docker(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand('docker', args, { cwd: root, env, timeoutMs: COMPOSE_MS });
  if (code === 0) return stdout.trim();
  throw new Error(`docker ${args.join(' ')} ended with ${code}.\n${stdout}${stderr}`);
}
const compose = (...args: string[]): Promise<string> => docker('compose', '-p', project, ...args);

async function timed(what: string, work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  const seconds = (performance.now() - startedAt) / 1_000;
  say(`$ ${what}`, `${seconds.toFixed(1)} s`);
  return seconds;
}

function say(...lines: string[]): void {
  transcript.push(...lines);
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function ask(path: string, body?: object): Promise<Response> {
  return fetch(`${url}/api/admin/sales${path}`, {
    method: body ? 'POST' : 'GET',
    headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
}

async function makeSale(): Promise<void> {
  const now = Date.now();
  const reply = await ask('', {
    product_id: saleId,
    name: 'The drop',
    original_price: '199.99',
    flash_sale_price: '99.99',
    units,
    per_buyer_limit: 1,
    starts_at: new Date(now - 1_000).toISOString(),
    ends_at: new Date(now + 3_600_000).toISOString(),
  });
  if (reply.status !== 201) throw new Error(`the sale was not made: ${reply.status} ${await reply.text()}`);
}

/** One API and one worker, by SIGKILL, once a third of the units can be taken. They stay down: the engine starts none that a person killed. */
async function crowdWithKills(): Promise<CrowdReport> {
  const victims = [`${project}-api-2`, `${project}-worker-2`];
  let killing: Promise<string> | undefined;
  let repliesByThen = 0;
  const crowd = await sendCrowd({
    url,
    saleId,
    buyers,
    connections,
    again: true,
    whenReplied(count) {
      if (killing || count < units / 3) return;
      repliesByThen = count;
      killing = docker('kill', '--signal', 'KILL', ...victims);
      // Judged below: without a handler a failure would end this process before everything is taken down.
      killing.catch(() => {});
    },
  });
  await killing;
  say(`$ docker kill --signal KILL ${victims.join(' ')}`, `sent after ${repliesByThen} replies`);
  return crowd;
}

/** @returns milliseconds from now until no order is under way, at most PROMISED_MS */
async function settled(): Promise<number> {
  const startedAt = performance.now();
  for (;;) {
    const reply = await ask(`/${saleId}`).catch(() => null);
    const sale = reply?.ok ? ((await reply.json()) as { reserved: number }) : null;
    const ms = performance.now() - startedAt;
    if (sale?.reserved === 0 || ms > PROMISED_MS) return ms;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

interface Ends {
  readonly confirmed: ReadonlyMap<string, string>;
  readonly audit: string;
  readonly faults: readonly string[];
}

async function judge(crowd: CrowdReport): Promise<Ends> {
  const sql = `SELECT id, buyer_id FROM orders WHERE sale_id = '${saleId}' AND status = 'confirmed'`;
  const rows = (await compose('exec', '-T', 'postgres', 'psql', '-AtF', ' ', '-c', sql)).split('\n').filter(Boolean);
  const confirmed = new Map(rows.map((row) => row.split(' ') as [string, string]));
  // Its exit code says whether all adds up; any other than 0 throws.
  const audit = await compose('run', '--rm', '--no-deps', '-T', 'api', 'node', 'scripts/audit-sale.ts', saleId);
  const faults: string[] = [];
  const must = (holds: boolean, what: string): void => void (holds || faults.push(what));
  must(confirmed.size === units, `${confirmed.size} confirmed, not ${units}`);
  must(new Set(confirmed.values()).size === confirmed.size, 'a buyer has two orders');
  const accepted = crowd.replies.filter(({ status }) => status === 200);
  must(
    accepted.every(({ orderId, buyerId }) => confirmed.get(orderId ?? '') === buyerId),
    'an accepted order is not confirmed',
  );
  for (const [reply, count] of Object.entries(crowd.tally)) {
    // Of the killed API's requests the proxy says that nobody knows; it sends none of them again.
    const fine = /^(200 accepted|0 BROKEN|502 API_CONNECTION_LOST|(400|429) [A-Z_]+)$/.test(reply);
    must(fine, `${count} replies were ${reply}`);
  }
  return { confirmed, audit, faults };
}

async function sizes(): Promise<string[]> {
  const base = Number(await docker('image', 'inspect', '-f', '{{.Size}}', 'node:24-bookworm-slim'));
  return Promise.all(
    IMAGES.map(async (image) => {
      const size = Number(await docker('image', 'inspect', '-f', '{{.Size}}', image));
      return `| \`${image}\` | ${(size / 1e6).toFixed(0)} | ${((size - base) / 1e6).toFixed(0)} |`;
    }),
  );
}

function page(facts: {
  readySeconds: number;
  again: number;
  crowd: CrowdReport;
  rows: string[];
  engine: string;
}): string {
  const { readySeconds, again, crowd, rows, engine } = facts;
  const [p50, p99] = [percentile(crowd.replies, 0.5), percentile(crowd.replies, 0.99)].map((ms) => ms.toFixed(0));
  return `# A drop in containers

Two APIs behind the proxy and three workers of compose.yaml, with its limits of memory and processor. ${buyers.toLocaleString('en')} buyers order once each,
over ${connections} connections to the proxy, from a sale of ${units.toLocaleString('en')} units, one a buyer. In the middle one API and one worker are killed
(SIGKILL) and stay down. Afterwards PostgreSQL is asked, and the audit.

- Ready ${readySeconds.toFixed(1)} s after \`docker compose up --wait\`, images built, volumes new. Whole again ${again.toFixed(1)} s after the same command, at the end.
- The crowd took ${crowd.seconds.toFixed(1)} s; a reply ${p50} ms at the median, ${p99} ms at p99.
- \`502 API_CONNECTION_LOST\`: requests that were on their way in the API as it was killed. Nobody knows what became of them, so the proxy sends
  them to no other one; those buyers may have a unit, and every reply of 200 has its row in the ledger, of that buyer, under that order id.

\`\`\`text
${transcript.join('\n')}
\`\`\`

| image | MB | of these beside Node's own image |
| --- | --- | --- |
${rows.join('\n')}

- Engine: ${engine}
${measuredBy(`pnpm measure:containers --buyers ${buyers} --units ${units} --connections ${connections} --write`)}`;
}

try {
  await timed('docker compose build', () => compose('build'));
  const up = (): Promise<string> => compose('up', '--wait', ...SCALE);
  const readySeconds = await timed(`docker compose up --wait ${SCALE.join(' ')}`, up);
  say(await compose('ps', '--format', '{{.Name}}  {{.Status}}'));
  await makeSale();
  const crowd = await crowdWithKills();
  const settledMs = await settled();
  say(
    `${buyers} buyers: ${Object.entries(crowd.tally)
      .map(([reply, count]) => `${count} × ${reply}`)
      .join(', ')}`,
    `no order under way ${(settledMs / 1_000).toFixed(2)} s after the last reply`,
    await compose('ps', '--all', '--format', '{{.Name}}  {{.Status}}', 'api', 'worker'),
  );
  const { confirmed, audit, faults } = await judge(crowd);
  say(`$ psql: confirmed orders of the sale`, String(confirmed.size), '$ node scripts/audit-sale.ts', audit);
  const again = await timed(`docker compose up --wait ${SCALE.join(' ')}`, up);
  for (const fault of faults) process.stdout.write(`  FAULT: ${fault}\n`);
  if (write && faults.length === 0) {
    const versions = await docker('version', '--format', 'Docker {{.Server.Version}}');
    const servers = await Promise.all([
      compose('exec', '-T', 'redis', 'redis-server', '--version'),
      compose('exec', '-T', 'postgres', 'postgres', '--version'),
      compose('exec', '-T', 'proxy', 'haproxy', '-v'),
    ]);
    const engine = [versions, `compose ${await docker('compose', 'version', '--short')}`, ...servers.map(firstWords)];
    const facts = { readySeconds, again, crowd, rows: await sizes(), engine: engine.join('; ') };
    writeFileSync(join(root, 'docs', 'measurements', 'containers.md'), page(facts));
  }
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  await compose('down', '--volumes', '--timeout', '20');
}

/** Of what a server says of itself: its name and version. */
function firstWords(text: string): string {
  return text.split('\n')[0]?.split(' ').slice(0, 3).join(' ') ?? '';
}
