/**
 * The system that is attacked: Redis, PostgreSQL and a worker of its own, and three API processes in production mode with the limits of
 * production, one for each way of knowing a buyer. After every attack it is looked at: every process lives and serves a good buyer, the sales add up, the memory is
 * bounded, and Redis has no key that is not documented.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { listFaults } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { freePort } from '../support/free-port.ts';
import { AUDIENCE, ISSUER, type KeyHost, makeSigner, type Signer, sign, startKeyHost } from '../support/key-host.ts';
import { eventually } from '../support/world.ts';
import { mustHold } from './attack.ts';
import { ADMIN_TOKEN, AttackedSystem } from './attacked-system.ts';
import { strangeKeys } from './known-keys.ts';

export const JWT_SECRET = 'q7Vx-2mRt9LpKd4WzYb8NcHs3FgJe6Ua';

/**
 * Megabytes by which an API process may have grown beyond what it took when it was new, at any time: 15,000 connections with what Node keeps
 * for each, 50,000 tokens, and for some seconds 200 times the 1,400 requests that can be read together from one connection that floods.
 */
const GROWTH_MAX_MB = 600;

/** Milliseconds within which a good buyer must be served after an attack, asking again where he is told to. */
const SERVED_AFTER_MS = 10_000;

/** Who believes what: X-User-ID, tokens signed with a secret, tokens by a key set. */
type DoorName = 'header' | 'secret' | 'keys';

interface Door {
  readonly name: DoorName;
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Megabytes, as it was new. */
  readonly firstMb: number;
}

interface Looked {
  /** ms until the slowest door had served its good buyer. */
  readonly servedMs: number;
  /** The most resident memory that any of the API processes has had so far, MB. */
  readonly peakMb: number;
}

/** What a good buyer on a connection of his own was told while something else went on. */
export interface Beside<T> {
  readonly result: T;
  readonly asked: number;
  readonly served: number;
  readonly worstMs: number;
}

export interface Target {
  readonly system: AttackedSystem;
  readonly doors: Record<DoorName, Door>;
  /** Of the door `header`: http://127.0.0.1:port. */
  readonly adminUrl: string;
  readonly metricsUrl: string;
  readonly adminToken: string;
  readonly keyHost: KeyHost;
  readonly signer: Signer;
  /** Two million units, no cap. */
  readonly saleId: string;
  /** A path of the API, by the door `header`. */
  order(headers: Record<string, string>, body?: string, path?: string): Promise<Response>;
  /** A good token of the door `secret`. */
  token(buyerId: string, claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  /** A buyer who asks ten times a second, on one connection, while the work goes on. */
  beside<T>(door: DoorName, work: () => Promise<T>): Promise<Beside<T>>;
  /** Bytes of all lines that the API processes have written. */
  logBytes(): number;
  /** Megabytes that the door's process has now. */
  residentMb(door: DoorName): number;
  /** @throws BrokenError */
  look(): Promise<Looked>;
  stop(): Promise<void>;
}

const orderPath = (saleId: string): string => `/api/flash-sales/${saleId}/order`;

export async function startTarget(): Promise<Target> {
  const signer = await makeSigner('RS256', 'k1');
  const keyHost = await startKeyHost([signer.publicKey]);
  const [adminPort, metricsPort] = [await freePort(), await freePort()];
  // The limits of production, but for the addresses': the crowd has one.
  const settings = { GLOBAL_RATE_LIMIT: '2000', BACKLOG_LIMIT: '50000', RECEIVE_TIMEOUT_MS: '3000' };
  const system = await AttackedSystem.start(settings);
  try {
    const tokens = { AUTH: 'jwt', JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE };
    const door = async (name: DoorName, own: Record<string, string>): Promise<Door> => {
      const url = await system.addApi(name, own);
      const pid = system.pid(`api-${name}`);
      return { name, url, port: Number(new URL(url).port), pid, firstMb: memoryOf(pid).resident / 1e6 };
    };
    const apart = { ADMIN_PORT: String(adminPort), METRICS_PORT: String(metricsPort) };
    const doors = {
      header: await door('header', { AUTH: 'header', ...apart }),
      secret: await door('secret', { ...tokens, JWT_SECRET }),
      keys: await door('keys', { ...tokens, JWT_JWKS_URL: keyHost.url }),
    };
    const saleId = await system.makeSale({ perBuyerLimit: 0 });
    return target({ system, signer, keyHost, doors, adminPort, metricsPort, saleId });
  } catch (error) {
    await system.stop();
    await keyHost.close();
    throw error;
  }
}

function target(facts: {
  system: AttackedSystem;
  signer: Signer;
  keyHost: KeyHost;
  doors: Record<DoorName, Door>;
  adminPort: number;
  metricsPort: number;
  saleId: string;
}): Target {
  const { system, signer, keyHost, doors, saleId } = facts;
  const keys = createKeys('flash-sale');
  const secretKey = new TextEncoder().encode(JWT_SECRET);
  let good = 0;

  const token: Target['token'] = (sub, claims = {}, header = {}) =>
    sign(secretKey, { alg: 'HS256', ...header }, { sub, ...claims });
  const goodHeaders = async (door: DoorName): Promise<Record<string, string>> => {
    const buyer = `good-${++good}`;
    if (door === 'header') return { 'x-user-id': buyer };
    return { authorization: `Bearer ${door === 'secret' ? await token(buyer) : await signer.token({ sub: buyer })}` };
  };

  async function serveGoodBuyer({ name, url }: Door): Promise<void> {
    const headers = await goodHeaders(name);
    let told = 'nothing';
    await eventually(`a good buyer is served at the door ${name}`, SERVED_AFTER_MS, async () => {
      const placed = await fetch(url + orderPath(saleId), {
        method: 'POST',
        headers,
        signal: AbortSignal.timeout(5_000),
      }).catch((error: Error) => error);
      if (placed instanceof Error) return false;
      const body = (await placed.json()) as { order_id?: string; code?: string };
      told = `${placed.status} ${body.code}`;
      if (placed.status !== 200) return false;
      const read = await fetch(`${url}/api/orders/${body.order_id}`, { headers });
      return read.status === 200;
    }).catch((error: Error) => mustHold(false, `${error.message}; told last: ${told}`));
  }

  async function look(): Promise<Looked> {
    const startedAt = performance.now();
    const all = Object.values(doors);
    await Promise.all(all.map(serveGoodBuyer));
    const servedMs = performance.now() - startedAt;
    const report = await auditSales({ redis: system.redis, pool: system.ledger, keys });
    mustHold(report.clean, `the audit: ${listFaults(report).slice(0, 3).join('; ')}`);
    const strange = await strangeKeys(system.redis);
    mustHold(strange.length === 0, `keys that nobody documents: ${JSON.stringify(strange.slice(0, 3))}`);
    const grown = all.map(({ pid, firstMb }) => memoryOf(pid).peak / 1e6 - firstMb);
    mustHold(Math.max(...grown) < GROWTH_MAX_MB, `a process has grown by ${Math.max(...grown).toFixed(0)} MB`);
    return { servedMs, peakMb: Math.max(...all.map(({ pid }) => memoryOf(pid).peak / 1e6)) };
  }

  return {
    system,
    doors,
    keyHost,
    signer,
    saleId,
    token,
    look,
    adminToken: ADMIN_TOKEN,
    adminUrl: `http://127.0.0.1:${facts.adminPort}`,
    metricsUrl: `http://127.0.0.1:${facts.metricsPort}/metrics`,
    order: (headers, body, path = orderPath(saleId)) =>
      fetch(doors.header.url + path, { method: 'POST', headers, ...(body === undefined ? {} : { body }) }),
    async beside(door, work) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const headers = await goodHeaders(door);
      const ask = () => askOnce(agent, doors[door].url + orderPath(saleId), headers);
      await ask();
      const asked: { status: number; ms: number }[] = [];
      let over = false;
      const asking = (async () => {
        while (!over) {
          asked.push(await ask());
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      })();
      try {
        const result = await work();
        const served = asked.filter(({ status }) => status === 200);
        return {
          result,
          asked: asked.length,
          served: served.length,
          worstMs: Math.max(0, ...served.map(({ ms }) => ms)),
        };
      } finally {
        over = true;
        await asking;
        agent.destroy();
      }
    },
    logBytes: () =>
      readdirSync(system.folder)
        .filter((file) => file.startsWith('api-'))
        .reduce((sum, file) => sum + statSync(join(system.folder, file)).size, 0),
    residentMb: (door) => memoryOf(doors[door].pid).resident / 1e6,
    async stop() {
      await system.stop();
      await keyHost.close();
    },
  };
}

/** @returns status 0 where the connection broke, or nothing came within 5 s */
function askOnce(agent: Agent, url: string, headers: Record<string, string>): Promise<{ status: number; ms: number }> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const end = (status: number): void => resolve({ status, ms: performance.now() - startedAt });
    const sent = httpRequest(url, { method: 'POST', agent, headers, timeout: 5_000 }, (response) => {
      response.resume().on('end', () => end(response.statusCode ?? 0));
    });
    sent.on('error', () => end(0));
    sent.on('timeout', () => sent.destroy());
    sent.end();
  });
}

/** Resident memory of one process, bytes: now, and its peak. */
function memoryOf(pid: number): { resident: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  return { resident: kib('VmRSS') * 1_024, peak: kib('VmHWM') * 1_024 };
}
