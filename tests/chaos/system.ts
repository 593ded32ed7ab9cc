/**
 * The system under test: Redis, PostgreSQL, API and worker processes, and a proxy on each
 * connection between them. Both servers fsync before they reply, so that replies outlive a SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { findRedis } from '@flash-sale/launcher/find-redis.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { keptPort, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { signalProcess } from '@flash-sale/launcher/process-table.ts';
import pg from 'pg';
import { ADMIN_TOKEN, COMPILE_CACHE } from '../support/running-system.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';
import { RESTART_AFTER_MS, ServiceProcess } from './service-process.ts';

export const KEY_PREFIX = 'chaos';
export const REQUEST_TIMEOUT_MS = 2_000;

/** PostgreSQL's children may hold its memory for a moment after a kill. */
const SERVER_STARTS_MAX = 40;

export type ServerName = 'redis' | 'postgres';

export interface SystemOptions {
  readonly apis: number;
  readonly workers: number;
  /** Where a Redis from Debian's packages is kept. */
  readonly distFolder: string;
  /** Over the settings of API and workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** A process ended by itself. */
  readonly onExit: (name: string, how: string, wasReady: boolean) => void;
  readonly signal?: AbortSignal;
}

export class ChaosSystem {
  /** By "api-1>redis". */
  readonly proxies = new Map<string, TcpProxy>();
  readonly apis: { name: string; url: string }[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-'));
  readonly #options: SystemOptions;
  readonly #servers = new Map<ServerName, PrivateServer>();
  readonly #services = new Map<string, ServiceProcess>();
  readonly #starting = new Set<Promise<unknown>>();
  #closed = false;

  constructor(options: SystemOptions) {
    this.#options = options;
    // PostgreSQL runs under another account when we are root.
    chmodSync(this.#folder, 0o711);
    mkdirSync(this.logFolder);
    mkdirSync(join(this.#folder, 'ports'));
  }

  get logFolder(): string {
    return join(this.#folder, 'logs');
  }

  url(name: ServerName): string {
    return this.#server(name).url;
  }

  #server(name: ServerName): PrivateServer {
    const server = this.#servers.get(name);
    if (!server) throw new Error(`${name} was never started`);
    return server;
  }

  /** Everything up, the ledger migrated. */
  async startAll(): Promise<void> {
    const { apis, workers, distFolder } = this.#options;
    const { kind } = await findRedis({ distFolder });
    if (kind === 'docker') throw new Error('Chaos needs a Redis that it can kill: on PATH or from Debian packages.');
    await Promise.all([this.start('redis'), this.start('postgres')]);
    await migrateLedger(this.url('postgres'));
    for (let i = 1; i <= apis; i++) await this.#addService('api', i);
    for (let i = 1; i <= workers; i++) await this.#addService('worker', i);
    await Promise.all([...this.#services.keys()].map((name) => this.start(name)));
  }

  /** @param name redis, postgres, api-1, worker-2 */
  async start(name: string): Promise<void> {
    if (this.#closed) return;
    if (name !== 'redis' && name !== 'postgres') return this.#service(name).start();
    const starting = this.#startServer(name);
    this.#starting.add(starting);
    const server = await starting.finally(() => this.#starting.delete(starting));
    for (const [way, proxy] of this.proxies) if (way.endsWith(`>${name}`)) proxy.targetPort = server.port;
  }

  async #startServer(name: ServerName): Promise<PrivateServer> {
    const { signal, distFolder } = this.#options;
    const options = { folder: this.#folder, restart: false, stopTimeoutMs: 2_000, signal };
    const config = ['appendfsync always', 'no-appendfsync-on-rewrite no'];
    for (let attempt = 1; ; attempt++) {
      try {
        const server = await (name === 'redis'
          ? startPrivateRedis({ ...options, distFolder, config })
          : startPrivatePostgres(options));
        this.#servers.set(name, server);
        return server;
      } catch (error) {
        if (attempt === SERVER_STARTS_MAX || signal?.aborted) throw error;
        await sleep(RESTART_AFTER_MS);
      }
    }
  }

  /** SIGKILL. Resolves when it is gone. */
  async kill(name: string): Promise<void> {
    if (name !== 'redis' && name !== 'postgres') return this.#service(name).kill();
    const server = this.#servers.get(name);
    server?.kill();
    await this.#untilGone(server);
  }

  async shutDownRedis(): Promise<void> {
    await this.askRedis('SHUTDOWN').catch(() => {});
    await this.#untilGone(this.#server('redis'));
  }

  #untilGone(server: PrivateServer | undefined): Promise<void> {
    return eventually('the server is gone', 10_000, () => server?.pid === undefined);
  }

  /** @param name of a process or of Redis */
  signal(name: string, signal: 'SIGSTOP' | 'SIGCONT'): void {
    const { pid } = name === 'redis' ? this.#server(name) : this.#service(name);
    if (pid !== undefined) signalProcess(pid, signal);
  }

  /** @param name of an API or a worker */
  stepClock(name: string, ms: number): void {
    this.#service(name).stepClock(ms);
  }

  /** One command, past the proxies. @throws if Redis does not answer */
  async askRedis(...command: [string, ...string[]]): Promise<unknown> {
    const log = createLogger('chaos', 'silent');
    const { redis, connect, close } = connectForRequests({
      url: this.url('redis'),
      name: 'chaos',
      timeoutMs: 5_000,
      log,
    });
    try {
      await connect();
      return await redis.call(...command);
    } finally {
      if (command[0] === 'SHUTDOWN') redis.disconnect();
      else await close();
    }
  }

  /** Past the proxies. @throws if PostgreSQL does not answer */
  async askPostgres<Row extends pg.QueryResultRow>(sql: string): Promise<Row[]> {
    const client = new pg.Client({ connectionString: this.url('postgres'), connectionTimeoutMillis: 2_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  async #addService(kind: 'api' | 'worker', number: number): Promise<void> {
    const name = `${kind}-${number}`;
    const env: NodeJS.ProcessEnv = {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      NODE_OPTIONS: `--import=${join(root, 'tests', 'support', 'shifted-clock.ts')}`,
      NODE_ENV: 'test',
      AUTH: 'header',
      HOST: '127.0.0.1',
      REDIS_URL: await this.#addProxy(name, 'redis'),
      DATABASE_URL: await this.#addProxy(name, 'postgres'),
      ADMIN_TOKEN,
      KEY_PREFIX,
      GLOBAL_RATE_LIMIT: '0',
      RATE_LIMIT_TOKENS: '0',
      IP_RATE_LIMIT: '0',
      REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
      ORPHAN_AGE_MS: '2000',
      REAPER_INTERVAL_MS: '500',
      // It takes longer than most processes live here.
      WARM_UP: number === 1 ? 'on' : 'off',
      ...this.#options.env,
    };
    if (kind === 'api') {
      env.PORT = String(await this.#port(name));
      this.apis.push({ name, url: `http://127.0.0.1:${env.PORT}` });
    }
    const main = join(root, 'apps', kind, 'src', 'main.ts');
    const start = (): ChildProcess => {
      const log = openSync(join(this.logFolder, `${name}.log`), 'a', 0o640);
      // Its own process group: a terminal's Ctrl-C reaches us only, and we end it.
      const child = spawn(process.execPath, [main], { env, detached: true, stdio: ['ignore', log, log, 'ipc'] });
      closeSync(log);
      return child;
    };
    const onExit = (how: string, wasReady: boolean) => this.#options.onExit(name, how, wasReady);
    this.#services.set(name, new ServiceProcess(start, onExit));
  }

  #service(name: string): ServiceProcess {
    const service = this.#services.get(name);
    if (!service) throw new Error(`there is no ${name}`);
    return service;
  }

  /** @returns the address of the server by way of the proxy */
  async #addProxy(from: string, to: ServerName): Promise<string> {
    const proxy = await TcpProxy.listen(this.#server(to).port);
    this.proxies.set(`${from}>${to}`, proxy);
    const address = new URL(this.url(to));
    address.port = String(proxy.port);
    return address.href;
  }

  /** Ports outside the range of outgoing connections. */
  #port(name: string): Promise<number> {
    return keptPort(join(this.#folder, 'ports', name));
  }

  /** Ends everything, whatever state it is in. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#services.values()].map((service) => service.end()));
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#servers.keys()].map((name) => this.kill(name)));
    await Promise.all([...this.proxies.values()].map((proxy) => proxy.close()));
  }

  /** @param keepLogs to look into a failure */
  remove(keepLogs: boolean): void {
    for (const entry of readdirSync(this.#folder))
      if (entry !== 'logs' || !keepLogs)
        rmSync(join(this.#folder, entry), { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    if (!keepLogs) rmSync(this.#folder, { recursive: true, force: true });
  }

  keepLog(file: string, text: string): void {
    writeFileSync(join(this.logFolder, file), text);
  }
}
