/**
 * A short random run (tests/chaos) from a fresh seed, and the control: the auditor finds the faults
 * of a system that is broken on purpose.
 * Long runs: `npm run test:long`, and `npm run test:chaos -- --minutes 10`.
 */
import { rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import type { Target } from '../chaos/client.ts';
import { isClean, outcomeOf, type RunReport, reportLines } from '../chaos/report.ts';
import { type ChaosOptions, runChaos } from '../chaos/run-chaos.ts';
import { freshSeed } from '../chaos/seeded-random.ts';
import { root } from '../tidy/source-files.ts';

// Its own bounds are inside: a minute for a server to come back, 30 s for all orders to end.
vi.setConfig({ testTimeout: 180_000 });

const MINUTES = 0.2;
const FRESH = freshSeed();
const stopping = new AbortController();
const runs: Promise<RunReport>[] = [];
const fronts: Server[] = [];

// A run that took too long is still at work: it ends what it started.
afterAll(async () => {
  stopping.abort();
  await Promise.allSettled(runs);
  for (const front of fronts) front.close();
});

function run(options: Partial<ChaosOptions>): Promise<RunReport> {
  const started = runChaos({
    seed: 'always-the-same',
    totalMs: MINUTES * 60_000,
    calmMs: 10_500,
    distFolder: process.env.TEST_REDIS_DIST ?? join(root, '.data', 'redis-dist'),
    signal: stopping.signal,
    ...options,
  });
  runs.push(started);
  return started;
}

test('[I1] [I2] [I3] [I4] [I6] [I7] [I10] a random run: nothing is oversold, leaked, lost or stuck, and every reply is true', async () => {
  const seed = FRESH;
  const report = await run({ seed });
  const told = [`replay: npm run test:chaos -- --seed ${seed} --minutes ${MINUTES}`, ...reportLines(report)];
  expect(isClean(report), [...told, `logs: ${report.logFolder}`, ...report.evidence].join('\n')).toBe(true);
  // There were faults, and orders.
  expect(report.kills).toBeGreaterThan(1);
  expect(report.faults.size).toBeGreaterThan(10);
  expect(report.acceptedOrders).toBeGreaterThan(100);
});

/** Between the crowd and an API: sends some orders on twice, as a careless gateway would. */
async function doublingFront(target: Target): Promise<Target> {
  let left = 3;
  const front = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { method = 'GET', url = '/', headers } = request;
    const send = () =>
      fetch(new URL(url, target.url), {
        method,
        headers: ownHeaders(headers),
        ...(method === 'POST' && body.length > 0 ? { body } : {}),
      });
    try {
      let answer = await send();
      const doubles = answer.status === 200 && url.endsWith('/order') && !headers['idempotency-key'] && left-- > 0;
      if (doubles) answer = await send();
      const names = ['content-type', 'retry-after', 'idempotency-replayed'];
      for (const name of names) if (answer.headers.has(name)) response.setHeader(name, answer.headers.get(name) ?? '');
      response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
    } catch {
      response.destroy();
    }
  });
  fronts.push(front);
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  return { name: target.name, url: `http://127.0.0.1:${(front.address() as AddressInfo).port}` };
}

function ownHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const names = ['x-user-id', 'x-request-id', 'authorization', 'idempotency-key', 'content-type'];
  return Object.fromEntries(
    names.flatMap((name) => (typeof headers[name] === 'string' ? [[name, headers[name]]] : [])),
  );
}

test('the control: orders that are sent on twice, and a worker whose reaper is off, are found', async () => {
  // Replies of Redis are held and then lost: units are taken without a reply or a job.
  // Only the reaper would find them.
  const lost = { kind: 'hold', lastsMs: 2_500, direction: 'down', ending: 'cut' } as const;
  const report = await run({
    totalMs: 6_000,
    calmMs: 2_000,
    terminalWithinMs: 5_000,
    env: { ORPHAN_AGE_MS: '3600000' },
    front: doublingFront,
    faults: [
      { ...lost, target: 'api-1>redis', at: 1_500 },
      { ...lost, target: 'api-2>redis', at: 2_500 },
    ],
  });
  // A run that found something keeps its logs: here that is what was wanted.
  rmSync(dirname(report.logFolder), { recursive: true, force: true });
  expect(outcomeOf(report)).toMatchObject({ oversold: 0, stuck: expect.any(Number), untrue: expect.any(Number) });
  expect(outcomeOf(report).stuck).toBeGreaterThan(0);
  const sentences = report.violations.map(({ sentence }) => sentence);
  expect(sentences).toContainEqual(expect.stringMatching(/^one request made 2 orders/));
  expect(sentences).toContainEqual(expect.stringMatching(/^row .* is there, and its request was told ok/));
  expect(sentences).toContainEqual(expect.stringMatching(/units, \d+ orders are still reserved$/));
  expect(report.evidence.join('\n')).toContain('order accepted');
});
