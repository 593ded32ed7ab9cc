/**
 * Floods of connections, requests and tokens at real processes. After each, a buyer is served, the
 * audit is clean, and Redis has no undocumented key.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { CONNECTION_CHECK_MS } from '@flash-sale/api/app.ts';
import { CONNECTION_LINGER_MS } from '@flash-sale/api/plugins/connection-state.ts';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { auditHere } from '../support/audited.ts';
import { openClient, type Reply, withCode } from '../support/buyers.ts';
import { undocumentedKeys } from '../support/documented-keys.ts';
import { useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { AUDIENCE, ISSUER, type KeyHost, makeSigner, type Signer, startKeyHost } from '../support/key-host.ts';
import { openRaw, type RawConnection, request } from '../support/raw-connection.ts';
import { ADMIN_TOKEN, type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const IDLE_MS = 3_000;
/** A busy machine may notice the end of a time this much later. */
const MARGIN_MS = 1_500;

const world = useWorld();
let saleId: string;
let processes: ServiceProcess[] = [];
/** Buyers by X-User-ID. */
let api: { url: string; port: number; process: ServiceProcess };
/** Buyers by tokens of an issuer. */
let byTokens: typeof api;
let adminPort: number;
let metricsPort: number;
let keyHost: KeyHost;
let signer: Signer;

beforeAll(async () => {
  saleId = (await makeSale(world, { units: 1_000_000 })).id;
  signer = await makeSigner('RS256', 'k1');
  keyHost = await startKeyHost([signer.publicKey]);
  [adminPort, metricsPort] = [await freePort(), await freePort()];
  const limits = { GLOBAL_RATE_LIMIT: '2000', RATE_LIMIT_TOKENS: '100', OVERLOAD_LOOP_DELAY_MS: '100' };
  const times = { RECEIVE_TIMEOUT_MS: String(IDLE_MS + 1_000), KEEP_ALIVE_TIMEOUT_MS: String(IDLE_MS) };
  const start = async (settings: Record<string, string>) => {
    const port = await freePort();
    const process = await startProcess(world, 'api', { ...limits, ...times, PORT: String(port), ...settings });
    processes.push(process);
    return { url: `http://127.0.0.1:${port}`, port, process };
  };
  api = await start({ ADMIN_PORT: String(adminPort), METRICS_PORT: String(metricsPort) });
  const tokens = { AUTH: 'jwt', JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE, JWT_JWKS_URL: keyHost.url };
  byTokens = await start(tokens);
  processes.push(await startProcess(world, 'worker'));
}, 60_000);
afterAll(async () => {
  await Promise.all(processes.map((process) => process.kill()));
  processes = [];
  await keyHost.close();
});
afterEach(async () => {
  const client = openClient(api.url);
  const served = async () => (await client.order(saleId, { buyerId: `served-${performance.now()}` })).status === 200;
  await eventually('a buyer is served', 10_000, served);
  client.close();
  await eventually('the audit is clean', 30_000, async () => (await auditHere(world, saleId)).clean);
  expect(await undocumentedKeys(world)).toEqual([]);
}, 60_000);

/** Resident memory in MB; 0 if it is unknown. */
function memoryOf({ child }: ServiceProcess): number {
  const status = `/proc/${child.pid}/status`;
  return existsSync(status) ? Number(/VmRSS:\s+(\d+)/.exec(readFileSync(status, 'utf8'))?.[1]) / 1_024 : 0;
}

/** Runs `work` while a buyer orders ten times a second on an open connection. */
async function beside<Result>(work: () => Promise<Result>): Promise<{ result: Result; replies: Reply[] }> {
  const client = openClient(api.url, { connections: 1, timeoutMs: 5_000 });
  await client.warmUp(1);
  const replies: Reply[] = [];
  let over = false;
  const asking = (async () => {
    while (!over) {
      replies.push(await client.order(saleId, { buyerId: `beside-${replies.length}` }));
      await pause(100);
    }
  })();
  try {
    return { result: await work(), replies };
  } finally {
    over = true;
    await asking;
    client.close();
  }
}

/** Runs `work` `count` times, `width` at a time, for a minute at most. */
async function repeat<Result>(count: number, width: number, work: (i: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  const endsAt = performance.now() + 60_000;
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < count && performance.now() < endsAt; i = next++) results.push(await work(i));
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}

async function statusOf(sent: Promise<Response>): Promise<number> {
  const response = await sent;
  await response.arrayBuffer();
  return response.status;
}

/** In groups, so that the kernel's queue of connections does not overflow. */
async function openMany(count: number, text: (i: number) => string): Promise<RawConnection[]> {
  // This process and the API have a bound of open files each.
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  const most = Math.min(count, limit === 'unlimited' ? count : Number(limit) - 500);
  if (most < count) console.warn(`only ${most} connections: ulimit -n is ${limit}`);
  const all: RawConnection[] = [];
  while (all.length < most) {
    const group = Array.from({ length: Math.min(500, most - all.length) }, (_, i) =>
      openRaw(api.port, text(all.length + i)),
    );
    all.push(...group);
    await Promise.all(
      group.map(({ socket }) => Promise.race([once(socket, 'connect'), once(socket, 'close'), pause(2_000)])),
    );
  }
  return all;
}

test('10,000 idle connections take bounded memory and are closed in time, and buyers are served', async () => {
  const before = memoryOf(api.process);
  const { result, replies } = await beside(async () => {
    // Nine of ten ask once and then stay; the others never send a byte.
    const all = await openMany(10_000, (i) => (i % 10 === 0 ? '' : request('GET /health/live')));
    await eventually(
      'nine of ten are answered',
      10_000,
      () => all.filter(({ received }) => received.includes('{"status":"ok"}')).length >= all.length * 0.89,
    );
    const grown = memoryOf(api.process) - before;
    const mostMs = IDLE_MS + 1_000 + CONNECTION_CHECK_MS + CONNECTION_LINGER_MS + 4 * MARGIN_MS;
    await eventually('all are closed', mostMs, () => all.every(({ isClosed }) => isClosed));
    return grown;
  });
  // Some 20 KiB each.
  expect(result).toBeLessThan(400);
  expect(withCode(replies, 'accepted').length).toBeGreaterThan(0);
}, 60_000);

test('20,000 connections that are opened and reset leave no memory behind', async () => {
  const before = memoryOf(api.process);
  for (let i = 0; i < 40; i++) {
    const group = await openMany(500, () => (i % 2 === 0 ? '' : 'GET / HTTP/1.1\r\n'));
    for (const { socket } of group) socket.resetAndDestroy();
  }
  expect(memoryOf(api.process) - before).toBeLessThan(150);
}, 60_000);

test('200,000 refused requests of ten kinds: memory, log and Redis stay as they were', async () => {
  const json = { 'content-type': 'application/json' };
  const order = `${api.url}/api/flash-sales/${saleId}/order`;
  const kinds: ((i: number) => Promise<Response>)[] = [
    (i) => fetch(`${api.url}/api/flash-sales/none-${i}/order`, { method: 'POST', headers: { 'x-user-id': `h${i}` } }),
    ...['{"quantity":-1}', '{"field":1}', '{"quantity":999999', 'x'].map(
      (body) => (i: number) =>
        fetch(order, { method: 'POST', headers: { ...json, 'x-user-id': `h${i}` }, body: `${body}${i}` }),
    ),
    (i) => fetch(order, { method: 'POST', headers: { 'x-user-id': `a b ${i}` } }),
    (i) => fetch(order, { method: 'POST', headers: { 'x-user-id': `h${i}`, 'idempotency-key': `"${i}` } }),
    (i) =>
      fetch(`${api.url}/api/orders/${saleId}-${String(i).padStart(26, '0')}`, { headers: { 'x-user-id': `h${i}` } }),
    (i) => fetch(`${api.url}/made-up/${i}?${i}`),
    (i) => fetch(`${byTokens.url}/api/orders/none`, { headers: { authorization: `Bearer ${i}.${i}.${i}` } }),
  ];
  const hostile = (i: number) => statusOf((kinds[i % kinds.length] as (typeof kinds)[number])(i));
  // The first ones fill Node's caches.
  await repeat(5_000, 100, hostile);
  const before = memoryOf(api.process);
  const keysBefore = await world.redis.dbsize();
  const logged = () => api.process.output().length + byTokens.process.output().length;
  const loggedBefore = logged();
  const statuses = await repeat(200_000, 100, (i) => hostile(i + 5_000));
  expect(statuses.filter((status) => ![400, 401, 404, 503].includes(status))).toEqual([]);
  expect(memoryOf(api.process) - before).toBeLessThan(150);
  expect(logged() - loggedBefore).toBeLessThan(statuses.length);
  expect((await world.redis.dbsize()) - keysBefore).toBeLessThan(50);
}, 120_000);

test('more valid tokens than are cached take bounded memory', async () => {
  const before = memoryOf(byTokens.process);
  const statuses = await repeat(70_000, 64, async (i) => {
    const authorization = `Bearer ${await signer.token({ sub: `many-${i}` })}`;
    return statusOf(fetch(`${byTokens.url}/api/orders/none`, { headers: { authorization } }));
  });
  expect(statuses.filter((status) => status !== 404 && status !== 503)).toEqual([]);
  expect(memoryOf(byTokens.process) - before).toBeLessThan(150);
}, 120_000);

test('a flood at the metrics port leaves buyers served', async () => {
  const { replies } = await beside(() =>
    repeat(3_000, 50, () => statusOf(fetch(`http://127.0.0.1:${metricsPort}/metrics`)).catch(() => 0)),
  );
  expect(withCode(replies, 'accepted').length).toBeGreaterThan(0);
}, 120_000);

test('operators and metrics are served on 127.0.0.1 only', async () => {
  const isOpen = (host: string, port: number): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect({ host, port, timeout: 500 });
      const end = (open: boolean): void => {
        socket.destroy();
        resolve(open);
      };
      socket.once('connect', () => end(true)).once('error', () => end(false));
      socket.once('timeout', () => end(false));
    });
  const hosts = Object.values(networkInterfaces())
    .flat()
    .flatMap((one) => (one && !one.internal && one.family === 'IPv4' ? [one.address] : []));
  for (const port of [adminPort, metricsPort]) {
    expect(await isOpen('127.0.0.1', port)).toBe(true);
    for (const host of [...hosts, '::1']) expect(await isOpen(host, port), host).toBe(false);
  }
});

test('a guessed operator’s token is refused as fast for a wrong first character as for a wrong last one', async () => {
  const guesses = [`x${ADMIN_TOKEN.slice(1)}`, `${ADMIN_TOKEN.slice(0, -1)}x`];
  const taken: number[][] = [[], []];
  for (let i = 0; i < 3_000; i++) {
    const which = i % 2;
    const startedAt = performance.now();
    await statusOf(
      fetch(`http://127.0.0.1:${adminPort}/api/admin/sales`, {
        headers: { authorization: `Bearer ${guesses[which]}` },
      }),
    );
    taken[which]?.push((performance.now() - startedAt) * 1_000);
  }
  const medianOf = (list: readonly number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
  const halves = taken.map((list) => Math.abs(medianOf(list.slice(0, 750)) - medianOf(list.slice(750))));
  // Finds differences of microseconds, such as a lookup in a store, not of nanoseconds.
  const [first, last] = taken.map(medianOf) as [number, number];
  expect(Math.abs(first - last)).toBeLessThan(Math.max(100, 3 * Math.max(...halves)));
}, 120_000);
