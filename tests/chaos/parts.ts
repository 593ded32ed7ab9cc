/**
 * The system that is tormented: a Redis and a PostgreSQL of its own, API processes and workers by their main.ts, and a proxy on each way
 * between them. Redis writes its file before it answers, and PostgreSQL flushes: what was answered outlives a SIGKILL.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { type FoundRedis, findRedis } from '@flash-sale/launcher/find-redis.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { keptPort } from '@flash-sale/launcher/private-server.ts';
import { signalProcess } from '@flash-sale/launcher/process-table.ts';
import { PartProcess } from './part-process.ts';
import { TcpProxy } from './tcp-proxy.ts';

export const ADMIN_TOKEN = 'tormented-and-thrown-away';
export const KEY_PREFIX = 'chaos';
export const REQUEST_TIMEOUT_MS = 2_000;

const root = fileURLToPath(new URL('../..', import.meta.url));

type ServerName = 'redis' | 'postgres';

export interface PartsOptions {
  readonly apis: number;
  readonly workers: number;
  /** Where a Redis from Debian's packages is kept. */
  readonly distFolder: string;
  /** Over the settings of API and workers. */
  readonly env?: Readonly<Record<string, string>>;
  /** A part ended by itself. */
  readonly onFall: (name: string, how: string, wasReady: boolean) => void;
  readonly signal?: AbortSignal;
}

export class Parts {
  /** Data, secrets and logs. */
  readonly folder: string;
  readonly processes = new Map<string, PartProcess>();
  /** By "api-1>redis". */
  readonly ways = new Map<string, TcpProxy>();
  readonly apis: { name: string; url: string }[] = [];
  readonly #options: PartsOptions;
  readonly #servers = new Map<ServerName, PrivateServer>();
  #foundRedis: FoundRedis | undefined;
  readonly #starting = new Set<Promise<unknown>>();
  #closed = false;

  constructor(options: PartsOptions) {
    this.#options = options;
    this.folder = mkdtempSync(join(tmpdir(), 'flash-sale-chaos-'));
    // PostgreSQL runs under another account when we are root.
    chmodSync(this.folder, 0o711);
  }

  get logFolder(): string {
    return join(this.folder, 'logs');
  }

  server(name: ServerName): PrivateServer {
    const server = this.#servers.get(name);
    if (!server) throw new Error(`${name} was never started`);
    return server;
  }

  /** Everything up, the ledger migrated. */
  async start(): Promise<void> {
    const found = await findRedis({ distFolder: this.#options.distFolder, searchPath: process.env.PATH });
    if (found.kind === 'docker') {
      throw new Error(
        'This needs a Redis that can be killed: one on PATH or from Debian packages, not in a container.',
      );
    }
    this.#foundRedis = found;
    await Promise.all([this.startServer('redis'), this.startServer('postgres')]);
    await migrateLedger(this.server('postgres').url);
    const { apis, workers } = this.#options;
    await Promise.all([
      ...Array.from({ length: apis }, (_, i) => this.#addProcess('api', i + 1)),
      ...Array.from({ length: workers }, (_, i) => this.#addProcess('worker', i + 1)),
    ]);
    this.apis.sort((a, b) => a.name.localeCompare(b.name));
    await Promise.all([...this.processes.values()].map((part) => part.start()));
  }

  async startServer(name: ServerName): Promise<void> {
    if (this.#closed) return;
    const { signal } = this.#options;
    const options = { folder: this.folder, restart: false, stopTimeoutMs: 2_000, signal };
    const starting =
      name === 'redis'
        ? startPrivateRedis({
            ...options,
            ...(this.#foundRedis ? { found: this.#foundRedis } : {}),
            config: ['appendfsync always', 'no-appendfsync-on-rewrite no'],
          })
        : startPrivatePostgres(options);
    const known = starting.then((server) => void this.#servers.set(name, server));
    this.#starting.add(known);
    await known.finally(() => this.#starting.delete(known));
    const server = this.server(name);
    for (const [way, proxy] of this.ways) if (way.endsWith(`>${name}`)) proxy.targetPort = server.port;
  }

  /** SIGKILL of all of it. PostgreSQL's children lead groups of their own, so each is ended by its pid. Resolves when it is gone. */
  async killServer(name: ServerName): Promise<void> {
    const server = this.#servers.get(name);
    const pid = server?.pid;
    if (server === undefined || pid === undefined) return;
    // Frozen first, so that no child is born while we look.
    signalProcess(pid, 'SIGSTOP');
    for (const child of childrenOf(pid)) signalProcess(child, 'SIGKILL');
    server.kill();
    await isGone(() => server.pid === undefined);
  }

  /** Asked to end, in order. */
  async shutDownRedis(): Promise<void> {
    const server = this.server('redis');
    await this.askRedis('SHUTDOWN').catch(() => {});
    await isGone(() => server.pid === undefined);
  }

  freezeRedis(): boolean {
    const { pid } = this.server('redis');
    return pid !== undefined && signalProcess(pid, 'SIGSTOP');
  }

  thawRedis(): void {
    const { pid } = this.server('redis');
    if (pid !== undefined) signalProcess(pid, 'SIGCONT');
  }

  /** One command over a connection of its own, past the proxies. @throws where Redis does not answer */
  async askRedis(...command: [string, ...string[]]): Promise<unknown> {
    const log = createLogger('chaos', 'silent');
    const { url } = this.server('redis');
    const { redis, connect, close } = connectForRequests({ url, name: 'chaos', timeoutMs: 5_000, log });
    try {
      await connect();
      return await redis.call(...command);
    } finally {
      if (command[0] === 'SHUTDOWN') redis.disconnect();
      else await close();
    }
  }

  async #addProcess(kind: 'api' | 'worker', number: number): Promise<void> {
    const name = `${kind}-${number}`;
    const [redisUrl, databaseUrl] = [
      await this.#addWay(name, 'redis', this.server('redis').url),
      await this.#addWay(name, 'postgres', this.server('postgres').url),
    ];
    const port = kind === 'api' ? await this.#port(name) : 0;
    if (kind === 'api') this.apis.push({ name, url: `http://127.0.0.1:${port}` });
    const process_ = new PartProcess({
      name,
      main: join(root, 'apps', kind, 'src', 'main.ts'),
      logFile: join(this.logFolder, `${name}.log`),
      onFall: this.#options.onFall,
      env: {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        AUTH: 'header',
        HOST: '127.0.0.1',
        ...(port > 0 ? { PORT: String(port) } : {}),
        REDIS_URL: redisUrl,
        DATABASE_URL: databaseUrl,
        ADMIN_TOKEN,
        KEY_PREFIX,
        GLOBAL_RATE_LIMIT: '0',
        RATE_LIMIT_TOKENS: '0',
        IP_RATE_LIMIT: '0',
        REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS),
        ORPHAN_AGE_MS: '2000',
        REAPER_INTERVAL_MS: '500',
        ...this.#options.env,
      },
    });
    this.processes.set(name, process_);
  }

  async #addWay(from: string, to: ServerName, url: string): Promise<string> {
    const way = `${from}>${to}`;
    const proxy = await TcpProxy.listen(await this.#port(way.replace('>', '-to-')), this.server(to).port);
    this.ways.set(way, proxy);
    const address = new URL(url);
    address.port = String(proxy.port);
    return address.href;
  }

  /** Ports that no system hands to outgoing connections (free-port.ts says why that matters). */
  async #port(name: string): Promise<number> {
    mkdirSync(join(this.folder, 'ports'), { recursive: true });
    return keptPort(join(this.folder, 'ports', name));
  }

  /** Ends everything, whatever state it is in. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.processes.values()].map((part) => part.end()));
    await Promise.allSettled(this.#starting);
    await Promise.all((['redis', 'postgres'] as const).map((name) => this.killServer(name)));
    await Promise.all([...this.ways.values()].map((way) => way.close()));
  }

  /** What somebody needs who looks into a failure stays in `logs`. */
  removeData(): void {
    for (const entry of readdirSync(this.folder)) {
      if (entry !== 'logs') rmSync(join(this.folder, entry), { recursive: true, force: true });
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  keep(file: string, text: string): void {
    mkdirSync(this.logFolder, { recursive: true });
    writeFileSync(join(this.logFolder, file), text);
  }
}

async function isGone(ask: () => boolean): Promise<void> {
  const until = performance.now() + 10_000;
  while (!ask()) {
    if (performance.now() > until) throw new Error('a server that was killed is still there');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Linux: from /proc. Elsewhere none are found, and a server's children end by themselves. */
function childrenOf(parent: number): number[] {
  let entries: string[];
  try {
    entries = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
  return entries.map(Number).filter((pid) => {
    try {
      // "pid (name) state parent …"; the name may hold anything.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent;
    } catch {
      return false;
    }
  });
}
