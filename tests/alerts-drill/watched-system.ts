/**
 * The system that the alerts are tried on: a Redis, a PostgreSQL, an API and a worker of its own, a way to each that can be made bad, a crowd
 * that orders all the time, and a Prometheus that watches them with the rules of monitoring/.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeys, type SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { TcpProxy } from '../chaos/tcp-proxy.ts';
import { freePort } from '../support/free-port.ts';
import { copyMonitoring, findPrometheus, type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { ADMIN_TOKEN, type ServiceProcess, startProcess } from '../support/running-system.ts';
import { hurried } from './hurried.ts';
import { type LogDisk, openLogDisk } from './log-disk.ts';
import { type SteadyCrowd, startCrowd } from './steady-crowd.ts';

/** Of which there is always something to buy, and of which there is nothing left. */
export const SALE_ID = 'drill';
export const SOLD_OUT_ID = 'drill-sold-out';

/** Seconds between two looks of Prometheus: a worker takes up to two to say that both parts are silent. */
const LOOK_EVERY_S = 2;

/** So tight that one machine reaches them. Thresholds of the rules stay what they are. */
const SETTINGS = {
  REQUEST_TIMEOUT_MS: '2000',
  BACKLOG_LIMIT: '400',
  OVERLOAD_IN_FLIGHT: '100',
  LOG_LEVEL: 'fatal',
};

export interface WatchedSystem {
  readonly redis: Redis;
  readonly redisServer: PrivateServer;
  /** Past the ways below. */
  readonly ledger: pg.Pool;
  readonly databaseUrl: string;
  readonly keys: SaleKeys;
  readonly ways: Readonly<Record<'apiToRedis' | 'apiToLedger' | 'workerToLedger', TcpProxy>>;
  readonly api: ServiceProcess;
  readonly worker: ServiceProcess;
  /** Of the API. */
  readonly url: string;
  readonly crowd: SteadyCrowd;
  /** The API writes its accepted-order log there. */
  readonly logDisk: LogDisk;
  readonly prometheus: Prometheus;
  /** Done when all processes are gone. */
  readonly afterwards: (() => void)[];
  close(): Promise<void>;
}

/** @throws with a sentence where Prometheus or a Redis cannot be had */
export async function openWatchedSystem(distFolder: string): Promise<WatchedSystem> {
  const { prometheus: program } = await findPrometheus();
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-alerts-'));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  const afterwards = [() => rmSync(folder, { recursive: true, force: true })];
  const closing: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const one of closing.splice(0).reverse()) await one();
    for (const one of afterwards) one();
  };
  try {
    const [redisServer, postgres] = await Promise.all([
      startPrivateRedis({ folder, distFolder }),
      startPrivatePostgres({ folder }),
    ]);
    closing.push(() => Promise.all([redisServer.stop(), postgres.stop()]));
    await migrateLedger(postgres.url);
    const redis = new Redis(redisServer.url);
    redis.on('error', () => {});
    const ledger = new pg.Pool({ connectionString: postgres.url, max: 4 });
    ledger.on('error', () => {});
    closing.push(
      () => redis.disconnect(),
      () => ledger.end(),
    );

    const [apiToRedis, apiToLedger, workerToLedger] = (await Promise.all(
      [redisServer, postgres, postgres].map(async ({ port }) => TcpProxy.listen(await freePort(), port)),
    )) as [TcpProxy, TcpProxy, TcpProxy];
    const ways = { apiToRedis, apiToLedger, workerToLedger };
    for (const way of Object.values(ways)) closing.push(() => way.close());

    const logDisk = await openLogDisk(join(folder, 'log'));
    closing.push(() => logDisk.remove());
    const ports = { http: await freePort(), api: await freePort(), worker: await freePort() };
    const api = await startProcess(
      { redisUrl: by(apiToRedis, redisServer.url), databaseUrl: by(apiToLedger, postgres.url), prefix: 'drill' },
      'api',
      { ...SETTINGS, PORT: String(ports.http), METRICS_PORT: String(ports.api), LOG_FILE: logDisk.file },
    );
    closing.push(() => api.kill());
    const worker = await startProcess(
      { redisUrl: redisServer.url, databaseUrl: by(workerToLedger, postgres.url), prefix: 'drill' },
      'worker',
      { ...SETTINGS, METRICS_PORT: String(ports.worker) },
    );
    closing.push(() => worker.kill());

    const url = `http://127.0.0.1:${ports.http}`;
    await makeSale(url, SALE_ID, 200_000);
    await makeSale(url, SOLD_OUT_ID, 1);
    const crowd = startCrowd(url, SALE_ID);
    closing.push(() => crowd.end());
    const rules = copyMonitoring(ports, LOOK_EVERY_S, hurried);
    closing.push(() => rmSync(rules, { recursive: true, force: true }));
    const prometheus = await startPrometheus(program, rules, await freePort());
    closing.push(() => prometheus.stop());
    const keys = createKeys('drill').sale(SALE_ID);
    const { url: databaseUrl } = postgres;
    const parts = { redis, redisServer, ledger, databaseUrl, keys, ways, api, worker, logDisk };
    return { ...parts, url, crowd, prometheus, afterwards, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The same server, by that way. */
function by(way: TcpProxy, url: string): string {
  const changed = new URL(url);
  changed.port = String(way.port);
  return changed.href;
}

/** @throws with the answer where it was not made */
export async function makeSale(url: string, id: string, units: number): Promise<void> {
  const response = await fetch(`${url}/api/admin/sales`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      product_id: id,
      name: 'The drill',
      original_price: '199.99',
      flash_sale_price: '99.99',
      currency: 'USD',
      units,
      per_buyer_limit: 0,
      starts_at: new Date(Date.now() - 1_000).toISOString(),
      ends_at: new Date(Date.now() + 3_600_000).toISOString(),
    }),
  });
  if (!response.ok) throw new Error(`The sale ${id} was not made: ${response.status} ${await response.text()}`);
}
