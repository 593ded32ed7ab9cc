/**
 * The benchmarked system in a temporary folder: private Redis and PostgreSQL, one API and one
 * worker in production mode with all checks on and limits that are never reached, and the bare
 * Fastify.
 */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { KeptProcess } from '@flash-sale/launcher/keep-process.ts';
import type { Operator } from '@flash-sale/launcher/operator-api.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { ownFolder, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../../tests/support/free-port.ts';
import { root } from '../command.ts';
import { createSale, readSale } from '../load/sale.ts';
import { cpuMs } from './processes.ts';

const ADMIN_TOKEN = 'measured-and-thrown-away';
const SETTLED_WITHIN_MS = 60_000;
const STOP_TIMEOUT_MS = 15_000;

/** Explicit, because defaults may differ between two versions of the code. */
const SETTINGS = {
  NODE_ENV: 'production',
  AUTH: 'header',
  HOST: '127.0.0.1',
  ADMIN_TOKEN,
  GLOBAL_RATE_LIMIT: '1000000',
  BACKLOG_LIMIT: '10000000',
  OVERLOAD_IN_FLIGHT: '5000',
  RATE_LIMIT_TOKENS: '100',
  TOKEN_REFILL_RATE: '20',
  DATABASE_POOL_SIZE: '10',
  REQUEST_TIMEOUT_MS: '5000',
};

export const PARTS = ['api', 'worker', 'redis', 'postgres'] as const;
export type Part = (typeof PARTS)[number];

interface Facts {
  readonly folder: string;
  readonly servers: Record<'redis' | 'postgres', PrivateServer>;
  readonly services: Record<'api' | 'worker' | 'bare', KeptProcess>;
  /** http://127.0.0.1:port of the API and of the bare server. */
  readonly url: string;
  readonly bareUrl: string;
  /** From the start of the API process until it is ready. */
  readonly startMs: number;
}

export class BenchSystem {
  readonly facts: Facts;
  readonly redis: Redis;
  readonly ledger: pg.Pool;
  readonly #operator: Operator;

  private constructor(facts: Facts) {
    this.facts = facts;
    this.#operator = { adminUrl: facts.url, adminToken: ADMIN_TOKEN };
    this.redis = new Redis(facts.servers.redis.url);
    this.ledger = new pg.Pool({ connectionString: facts.servers.postgres.url, max: 2 });
    // The server may stop before idle connections close; an unhandled error would end this process.
    this.ledger.on('error', () => {});
  }

  /** @param code folder of the checkout whose API and worker run, with its packages installed */
  static async start(code: string): Promise<BenchSystem> {
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
    // As root, PostgreSQL runs under another account, which needs access.
    chmodSync(folder, 0o711);
    const started: KeptProcess[] = [];
    const onStarted = (one: KeptProcess): void => void started.push(one);
    try {
      const distFolder = join(root, '.data', 'redis-dist');
      const options = { folder: ownFolder(join(folder, 'servers')), distFolder, onStarted };
      const redis = await startPrivateRedis(options);
      // The CPU time of a container is not counted for the process that started it.
      if (redis.version.includes('Docker')) throw new Error('The bench needs a redis-server outside of Docker.');
      const postgres = await startPrivatePostgres(options);
      const urls = { REDIS_URL: redis.url, DATABASE_URL: postgres.url };
      const run = async (name: string, port: number, args: readonly string[]): Promise<KeptProcess> => {
        const logFile = join(folder, `${name}.log`);
        const env = { PATH: process.env.PATH, ...SETTINGS, ...urls, PORT: String(port), LOG_FILE: logFile };
        const options = { restart: false, stopTimeoutMs: STOP_TIMEOUT_MS, onStarted };
        const kept = new KeptProcess({ name, kind: 'app', command: process.execPath, args, env, logFile, ...options });
        await kept.ready;
        return kept;
      };
      const [port, barePort] = [await freePort(), await freePort()];
      const env = { PATH: process.env.PATH, ...urls };
      await promisify(execFile)(process.execPath, [join(code, 'scripts', 'migrate.ts')], { env });
      const service = (name: string) => [...SERVICE_NODE_ARGS, join(code, 'apps', name, 'src', 'main.ts')];
      const startedAt = performance.now();
      const api = await run('api', port, service('api'));
      const startMs = performance.now() - startedAt;
      const worker = await run('worker', port, service('worker'));
      const bare = await run('bare', barePort, [join(root, 'scripts', 'bench', 'bare-server.ts')]);
      const addresses = { url: `http://127.0.0.1:${port}`, bareUrl: `http://127.0.0.1:${barePort}` };
      const servers = { redis, postgres };
      return new BenchSystem({ folder, servers, services: { api, worker, bare }, startMs, ...addresses });
    } catch (error) {
      await Promise.all(started.map((one) => one.stop()));
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  pid(name: Part): number {
    return { ...this.facts.servers, ...this.facts.services }[name].pid ?? 0;
  }

  /** CPU time of each component so far, ms. */
  cpu(): Record<Part, number> {
    const ofPart = (part: Part): number => cpuMs(this.pid(part));
    return { api: ofPart('api'), worker: ofPart('worker'), redis: ofPart('redis'), postgres: ofPart('postgres') };
  }

  /** @returns the id of a new sale that is open, one unit a buyer */
  createSale(units = 2_000_000): Promise<string> {
    return createSale(this.#operator, 'bench', units, 1);
  }

  /** Confirmed units of a sale, from its row. */
  async soldInLedger(saleId: string): Promise<number> {
    const { rows } = await this.ledger.query<{ sold: number }>('SELECT sold FROM sales WHERE id = $1', [saleId]);
    return rows[0]?.sold ?? 0;
  }

  /**
   * Waits until every order of the sale is committed in Redis and the ledger.
   *
   * @throws after SETTLED_WITHIN_MS
   */
  async settled(saleId: string): Promise<void> {
    for (const deadline = performance.now() + SETTLED_WITHIN_MS; ; ) {
      const { reserved, sold } = await readSale(this.#operator, saleId);
      const inLedger = await this.soldInLedger(saleId);
      if (reserved === 0 && inLedger === sold) return;
      if (performance.now() > deadline)
        throw new Error(`${saleId}: ${reserved} reserved, ${sold} sold, ${inLedger} in the ledger`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async stop(): Promise<void> {
    const { folder, servers, services } = this.facts;
    if (services.worker.pid !== undefined) process.kill(services.worker.pid, 'SIGCONT');
    await Promise.all(Object.values(services).map((one) => one.stop()));
    this.redis.disconnect();
    await this.ledger.end();
    await Promise.all(Object.values(servers).map((one) => one.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
}
