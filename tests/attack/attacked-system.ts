/** Redis and PostgreSQL as `npm start` runs them, and API and worker processes in production mode, in a temporary folder. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { ownFolder } from '@flash-sale/launcher/private-server.ts';
import { startPrivateServers } from '@flash-sale/launcher/private-servers.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { freePort } from '../support/free-port.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const ADMIN_TOKEN = 'attacked-and-thrown-away';

/** Limits that no run reaches, and everything else as it comes: what is measured is the whole way with every check in it. */
const RAISED = {
  GLOBAL_RATE_LIMIT: '1000000',
  BACKLOG_LIMIT: '10000000',
  OVERLOAD_IN_FLIGHT: '5000',
};

type Servers = Awaited<ReturnType<typeof startPrivateServers>>;

interface Facts {
  readonly folder: string;
  readonly servers: Servers;
  readonly children: Map<string, ChildProcess>;
  /** http://127.0.0.1:port of the first API process. */
  readonly url: string;
  /** Of every API process, before its own settings. */
  readonly env: NodeJS.ProcessEnv;
}

export class AttackedSystem {
  readonly folder: string;
  readonly redis: Redis;
  readonly ledger: pg.Pool;
  readonly #facts: Facts;
  readonly #children: Map<string, ChildProcess>;
  #sales = 0;

  private constructor(facts: Facts) {
    this.folder = facts.folder;
    this.#facts = facts;
    this.#children = facts.children;
    this.redis = new Redis(facts.servers.redis.url);
    this.ledger = new pg.Pool({ connectionString: facts.servers.databaseUrl, max: 2 });
    // The server may stop before an idle connection has closed; without a listener that would end the process.
    this.ledger.on('error', () => {});
  }

  /** @param settings instead of the raised limits */
  static async start(settings: Readonly<Record<string, string>>): Promise<AttackedSystem> {
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-attack-'));
    // PostgreSQL runs under another account when we are root.
    chmodSync(folder, 0o711);
    mkdirSync(join(folder, 'servers'), { mode: 0o711 });
    const children = new Map<string, ChildProcess>();
    let servers: Servers | undefined;
    try {
      const distFolder = join(root, '.data', 'redis-dist');
      servers = await startPrivateServers({ folder: ownFolder(join(folder, 'servers')), distFolder });
      await migrateLedger(servers.databaseUrl);
      const port = await freePort();
      const env: NodeJS.ProcessEnv = {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        AUTH: 'header',
        HOST: '127.0.0.1',
        PORT: String(port),
        REDIS_URL: servers.redisUrl,
        DATABASE_URL: servers.databaseUrl,
        ADMIN_TOKEN,
        ...RAISED,
        ...settings,
      };
      for (const kind of ['api', 'worker']) {
        const logFile = join(folder, `${kind}-1.log`);
        const main = join(root, 'apps', kind, 'src', 'main.ts');
        children.set(`${kind}-1`, await startProcess([...SERVICE_NODE_ARGS, main], { ...env, LOG_FILE: logFile }));
      }
      return new AttackedSystem({ folder, servers, children, env, url: `http://127.0.0.1:${port}` });
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
    const env = { ...this.#facts.env, ...settings, PORT: String(port), LOG_FILE: logFile };
    const main = join(root, 'apps', 'api', 'src', 'main.ts');
    this.#children.set(`api-${name}`, await startProcess([...SERVICE_NODE_ARGS, main], env));
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

  /** A sale that is on for an hour. @returns its id */
  async makeSale({ units = 2_000_000, perBuyerLimit = 1, id = `bench${++this.#sales}` } = {}): Promise<string> {
    const now = Date.now();
    const response = await fetch(`${this.#facts.url}/api/admin/sales`, {
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

  async stop(): Promise<void> {
    await Promise.all([...this.#children.values()].map(endProcess));
    this.redis.disconnect();
    await this.ledger.end();
    await this.#facts.servers.stop();
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

/** @returns once the process has said that it is ready; its output goes beside its log */
async function startProcess(args: readonly string[], env: NodeJS.ProcessEnv): Promise<ChildProcess> {
  const output = `${env.LOG_FILE}.out`;
  const log = openSync(output, 'a');
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', log, log, 'ipc'] });
  await new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', (code) => reject(new Error(`a process ended (${code}) before it was ready; see ${output}`)));
    child.once('error', reject);
  });
  return child;
}
