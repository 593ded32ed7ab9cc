/**
 * A system of its own for measuring: Redis (AOF every second) and PostgreSQL as `npm start` runs them, API and worker processes in
 * production mode with their logs in files, and a bare Fastify beside them. All in a folder that is thrown away.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../../tests/support/free-port.ts';
import { type BenchServers, startBenchServers } from './bench-servers.ts';
import { cpuMs } from './cpu-time.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** The operator's, of every system that is measured. */
export const ADMIN_TOKEN = 'measured-and-thrown-away';

/** Processes whose CPU time is counted apart. */
export type Part = 'api' | 'worker' | 'redis' | 'postgres';

export interface SaleNumbers {
  readonly allotment: number;
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
}

export interface BenchOptions {
  readonly apis?: number;
  readonly workers?: number;
  /** Masters of a Redis Cluster; 0: one plain Redis. */
  readonly redisMasters?: 0 | 1 | 3;
  /** Instead of the raised limits. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Of Node, for the API and worker processes (profiles). */
  readonly nodeArgs?: Partial<Record<'api' | 'worker', readonly string[]>>;
}

/** Limits that no run reaches, and everything else as it comes: what is measured is the whole way with every check in it. */
const RAISED = {
  GLOBAL_RATE_LIMIT: '1000000',
  BACKLOG_LIMIT: '10000000',
  OVERLOAD_IN_FLIGHT: '5000',
};

export class BenchSystem {
  readonly folder: string;
  readonly servers: BenchServers;
  /** Plain, to the one Redis or to the first node of the cluster. */
  readonly redis: Redis;
  readonly ledger: pg.Pool;
  /** http://127.0.0.1:port of the API and of the bare server. */
  readonly url: string;
  readonly bareUrl: string;
  /** From the start of the first API process until it said that it is ready. */
  readonly startMs: number;
  readonly #children: Map<string, ChildProcess>;
  readonly #metricsUrl: string;
  /** Of its API processes, before what each has for itself. */
  readonly #env: NodeJS.ProcessEnv;
  #sales = 0;

  private constructor(facts: {
    folder: string;
    servers: BenchServers;
    children: Map<string, ChildProcess>;
    metricsUrl: string;
    url: string;
    bareUrl: string;
    startMs: number;
    env: NodeJS.ProcessEnv;
  }) {
    this.folder = facts.folder;
    this.servers = facts.servers;
    this.#children = facts.children;
    this.#metricsUrl = facts.metricsUrl;
    this.url = facts.url;
    this.bareUrl = facts.bareUrl;
    this.startMs = facts.startMs;
    this.#env = facts.env;
    this.redis = new Redis(facts.servers.redis.url);
    this.ledger = new pg.Pool({ connectionString: facts.servers.databaseUrl, max: 2 });
    // The server may stop before a connection that was given back has closed; without a listener that would end the process.
    this.ledger.on('error', () => {});
  }

  static async start(options: BenchOptions = {}): Promise<BenchSystem> {
    const { apis = 1, workers = 1, redisMasters = 0, settings = {}, nodeArgs = {} } = options;
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-bench-'));
    // PostgreSQL runs under another account when we are root.
    chmodSync(folder, 0o711);
    mkdirSync(join(folder, 'servers'), { mode: 0o711 });
    const children = new Map<string, ChildProcess>();
    let servers: BenchServers | undefined;
    try {
      const distFolder = join(root, '.data', 'redis-dist');
      servers = await startBenchServers({ folder: join(folder, 'servers'), distFolder, redisMasters });
      // The CPU time of a container is not that of the process that started it.
      if (servers.redis.what.includes('Docker'))
        throw new Error('The bench needs a redis-server on this machine, not in Docker.');
      await migrateLedger(servers.databaseUrl);
      const port = await freePort();
      const metricsPort = await freePort();
      const env: NodeJS.ProcessEnv = {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        AUTH: 'header',
        HOST: '127.0.0.1',
        PORT: String(port),
        API_PROCESSES: String(apis),
        REDIS_URL: servers.redisUrl,
        DATABASE_URL: servers.databaseUrl,
        ADMIN_TOKEN,
        ...RAISED,
        ...settings,
      };
      const begin = async (kind: 'api' | 'worker', number: number): Promise<void> => {
        const main = join(root, 'apps', kind, 'src', 'main.ts');
        const own = kind === 'api' && number === 1 ? { METRICS_PORT: String(metricsPort) } : {};
        const logFile = join(folder, `${kind}-${number}.log`);
        const started = await startProcess(
          [...SERVICE_NODE_ARGS, ...(nodeArgs[kind] ?? []), main],
          { ...env, ...own, LOG_FILE: logFile },
          `${logFile}.out`,
        );
        children.set(`${kind}-${number}`, started.child);
      };
      const startedAt = performance.now();
      await begin('api', 1);
      const startMs = performance.now() - startedAt;
      for (let i = 2; i <= apis; i++) await begin('api', i);
      for (let i = 1; i <= workers; i++) await begin('worker', i);
      const bare = await startProcess(
        [join(root, 'scripts', 'bench', 'bare-server.ts')],
        { PATH: process.env.PATH, NODE_ENV: 'production' },
        join(folder, 'bare.log'),
      );
      children.set('bare', bare.child);
      return new BenchSystem({
        folder,
        servers,
        children,
        startMs,
        env,
        metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
        url: `http://127.0.0.1:${port}`,
        bareUrl: `http://127.0.0.1:${bare.message.port}`,
      });
    } catch (error) {
      for (const child of children.values()) child.kill('SIGKILL');
      await servers?.stop();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * A further API process on a port of its own, with settings of its own.
   *
   * @returns http://127.0.0.1:port
   */
  async addApi(name: string, settings: Readonly<Record<string, string>>): Promise<string> {
    const port = await freePort();
    const logFile = join(this.folder, `api-${name}.log`);
    const env = { ...this.#env, ...settings, PORT: String(port), LOG_FILE: logFile };
    const main = join(root, 'apps', 'api', 'src', 'main.ts');
    const { child } = await startProcess([...SERVICE_NODE_ARGS, main], env, `${logFile}.out`);
    this.#children.set(`api-${name}`, child);
    return `http://127.0.0.1:${port}`;
  }

  /** Ends one that was added. */
  async stopApi(name: string): Promise<void> {
    const child = this.#children.get(`api-${name}`);
    if (child === undefined) throw new Error(`there is no process api-${name}`);
    this.#children.delete(`api-${name}`);
    await endProcess(child);
  }

  /** @returns pids by name: api-1, api-<name>, worker-1, bare */
  pid(name: string): number {
    const pid = this.#children.get(name)?.pid;
    if (pid === undefined) throw new Error(`there is no process ${name}`);
    return pid;
  }

  /** CPU time that each part has used so far, ms. */
  cpu(): Record<Part, number> {
    const of = (kind: string): number =>
      [...this.#children]
        .filter(([name]) => name.startsWith(kind))
        .reduce((sum, [, child]) => sum + cpuMs(child.pid ?? 0), 0);
    return {
      api: of('api-'),
      worker: of('worker-'),
      redis: this.redisCpu().reduce((sum, ms) => sum + ms, 0),
      postgres: cpuMs(this.servers.postgres.pid ?? 0),
    };
  }

  /** CPU time that each node of Redis has used so far, ms. */
  redisCpu(): number[] {
    return this.servers.redisNodes.map(({ pid }) => cpuMs(pid ?? 0));
  }

  /** A sale that is on for an hour. @returns its id */
  async makeSale({ units = 2_000_000, perBuyerLimit = 1, id = `bench${++this.#sales}` } = {}): Promise<string> {
    const now = Date.now();
    const response = await fetch(`${this.url}/api/admin/sales`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        product_id: id,
        name: 'Measured',
        original_price: '199.99',
        flash_sale_price: '99.99',
        units,
        per_buyer_limit: perBuyerLimit,
        starts_at: new Date(now - 1_000).toISOString(),
        ends_at: new Date(now + 3_600_000).toISOString(),
      }),
    });
    if (response.status !== 201) throw new Error(`the sale was not made: ${response.status} ${await response.text()}`);
    return id;
  }

  /** How often the first API process has refused with this code. */
  async refusals(code: string): Promise<number> {
    const text = await (await fetch(this.#metricsUrl)).text();
    return Number(new RegExp(`^flash_sale_refusals_total\\{code="${code}"\\} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  }

  /** What the inventory says of a sale. */
  async numbers(saleId: string): Promise<SaleNumbers> {
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    const response = await fetch(`${this.url}/api/admin/sales/${saleId}`, { headers });
    if (!response.ok) throw new Error(`the sale's numbers: ${response.status} ${await response.text()}`);
    return (await response.json()) as SaleNumbers;
  }

  /** Confirmed units of a sale, from the sale's own row. */
  async soldInLedger(saleId: string): Promise<number> {
    const { rows } = await this.ledger.query<{ sold: number }>('SELECT sold FROM sales WHERE id = $1', [saleId]);
    return rows[0]?.sold ?? 0;
  }

  /** Waits until every order of the sale is in the ledger and settled. @returns ms that it took. @throws after a minute */
  async settled(saleId: string): Promise<number> {
    const startedAt = performance.now();
    for (;;) {
      const { reserved, sold } = await this.numbers(saleId);
      if (reserved === 0) {
        const inLedger = await this.soldInLedger(saleId);
        if (inLedger !== sold) throw new Error(`the inventory sold ${sold}, the ledger ${inLedger}`);
        return performance.now() - startedAt;
      }
      if (performance.now() - startedAt > 60_000)
        throw new Error(`${reserved} units are still reserved after a minute`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#children.values()].map(endProcess));
    this.redis.disconnect();
    await this.ledger.end();
    await this.servers.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** SIGTERM, and SIGKILL where it does not end within 15 s. */
async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await gone;
  clearTimeout(force);
}

interface Started {
  readonly child: ChildProcess;
  readonly message: { readonly port?: number };
}

/** @returns once the process has said that it is ready */
async function startProcess(args: readonly string[], env: NodeJS.ProcessEnv, logFile: string): Promise<Started> {
  const log = openSync(logFile, 'a');
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', log, log, 'ipc'] });
  const message = await new Promise<Started['message']>((resolve, reject) => {
    child.once('message', (said) => resolve(said as Started['message']));
    child.once('exit', (code) => reject(new Error(`a process ended (${code}) before it was ready; see ${logFile}`)));
    child.once('error', reject);
  });
  return { child, message };
}
