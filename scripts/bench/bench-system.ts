/**
 * The benchmarked system in a temporary folder: private Redis and PostgreSQL, one API and one
 * worker in production mode with all checks on and limits that are never reached, and the bare
 * Fastify.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { ownFolder } from '@flash-sale/launcher/private-server.ts';
import { type PrivateServers, startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../../tests/support/free-port.ts';
import { createSale, type Operator, readSale } from '../load/sale.ts';
import { cpuMs, endProcess, startProcess } from './processes.ts';

export const root = fileURLToPath(new URL('../../', import.meta.url));
const ADMIN_TOKEN = 'measured-and-thrown-away';
const SETTLED_WITHIN_MS = 60_000;

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
  readonly servers: PrivateServers;
  readonly children: Record<'api' | 'worker' | 'bare', ChildProcess>;
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
    this.#operator = { baseUrl: facts.url, token: ADMIN_TOKEN };
    this.redis = new Redis(facts.servers.redis.url);
    this.ledger = new pg.Pool({ connectionString: facts.servers.databaseUrl, max: 2 });
    // The server may stop before idle connections close; an unhandled error would end this process.
    this.ledger.on('error', () => {});
  }

  /** @param code folder of the checkout whose API and worker run, with its packages installed */
  static async start(code: string): Promise<BenchSystem> {
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
    // As root, PostgreSQL runs under another account, which needs access.
    chmodSync(folder, 0o711);
    const started: ChildProcess[] = [];
    let servers: PrivateServers | undefined;
    try {
      const distFolder = join(root, '.data', 'redis-dist');
      servers = await startPrivateServers({ folder: ownFolder(join(folder, 'servers')), distFolder });
      // The CPU time of a container is not counted for the process that started it.
      if (servers.redis.version.includes('Docker'))
        throw new Error('The bench needs a redis-server outside of Docker.');
      const { redisUrl: REDIS_URL, databaseUrl: DATABASE_URL } = servers;
      const port = await freePort();
      const env = { PATH: process.env.PATH, ...SETTINGS, PORT: String(port), REDIS_URL, DATABASE_URL };
      await promisify(execFile)(process.execPath, [join(code, 'scripts', 'migrate.ts')], { env });
      const begin = async (name: string, args: readonly string[]) => {
        const logFile = join(folder, `${name}.log`);
        const one = await startProcess(args, { ...env, LOG_FILE: logFile }, `${logFile}.out`);
        started.push(one.child);
        return one;
      };
      const service = (name: string) => [...SERVICE_NODE_ARGS, join(code, 'apps', name, 'src', 'main.ts')];
      const startedAt = performance.now();
      const api = await begin('api', service('api'));
      const startMs = performance.now() - startedAt;
      const worker = await begin('worker', service('worker'));
      const bare = await begin('bare', [join(root, 'scripts', 'bench', 'bare-server.ts')]);
      const children = { api: api.child, worker: worker.child, bare: bare.child };
      const urls = { url: `http://127.0.0.1:${port}`, bareUrl: `http://127.0.0.1:${bare.port}` };
      return new BenchSystem({ folder, servers, children, startMs, ...urls });
    } catch (error) {
      for (const child of started) child.kill('SIGKILL');
      await servers?.stop();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  pid(name: 'api' | 'worker' | 'bare'): number {
    return this.facts.children[name].pid ?? 0;
  }

  /** CPU time of each component so far, ms. */
  cpu(): Record<Part, number> {
    const { redis, postgres } = this.facts.servers;
    return {
      api: cpuMs(this.pid('api')),
      worker: cpuMs(this.pid('worker')),
      redis: cpuMs(redis.pid ?? 0),
      postgres: cpuMs(postgres.pid ?? 0),
    };
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
    for (const deadline = Date.now() + SETTLED_WITHIN_MS; ; ) {
      const { reserved, sold } = await readSale(this.#operator, saleId);
      const inLedger = await this.soldInLedger(saleId);
      if (reserved === 0 && inLedger === sold) return;
      if (Date.now() > deadline)
        throw new Error(`${saleId}: ${reserved} reserved, ${sold} sold, ${inLedger} in the ledger`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async stop(): Promise<void> {
    this.facts.children.worker.kill('SIGCONT');
    await Promise.all(Object.values(this.facts.children).map(endProcess));
    this.redis.disconnect();
    await this.ledger.end();
    await this.facts.servers.stop();
    rmSync(this.facts.folder, { recursive: true, force: true });
  }
}
