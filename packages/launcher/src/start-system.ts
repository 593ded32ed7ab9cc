/**
 * `npm start`: everything that a sale needs, on one machine, from settings to the first order.
 *
 * 1. Settings; what cannot work is said before anything is started.
 * 2. The data folder is claimed; what a killed start left behind is ended.
 * 3. Redis and PostgreSQL: the given ones, or private ones; then the ledger's migrations.
 * 4. Workers and API processes, kept running; the API answers /health.
 * 5. The demo sales, and the few lines that a person needs.
 *
 * Stopping goes the other way: API, workers, servers.
 */
import { join } from 'node:path';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { hostsOf } from '@flash-sale/core/config/redis-address.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { describeDemoSale, makeDemoSales } from './demo-sales.ts';
import { requireListenable } from './free-port.ts';
import { type KeptProcess, keepProcess } from './keep-process.ts';
import { keptSecret } from './kept-secret.ts';
import { startPrivatePostgres } from './private-postgres.ts';
import { startPrivateRedis } from './private-redis.ts';
import { ownFolder, type PrivateServer } from './private-server.ts';
import { signalProcess } from './process-table.ts';
import { claimRunFile, endLeftovers, possibleLeftovers, type RunFile } from './run-file.ts';
import { refuseSourced, removeAddresses, writeAddresses, writeProcessSettings } from './running-system.ts';
import { readSettings, requireChosen, type Settings } from './settings.ts';
import { type Say, stepLine, stepTimer, welcome } from './start-lines.ts';
import { unlessAborted } from './wait-until.ts';

/** Milliseconds for the apps to answer /health: generous, a first start on a slow disk reads every module anew. */
const HEALTHY_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 100;

/** Milliseconds a process gets on top of SHUTDOWN_TIMEOUT_MS, so that it can end by itself at its own bound. */
const KILL_GRACE_MS = 500;

export interface SystemOptions {
  /** The project's folder. */
  readonly root: string;
  /** The environment. */
  readonly given: Record<string, string | undefined>;
  readonly say: Say;
  /** true: API and workers start again by themselves when a file of theirs changes. */
  readonly watch?: boolean;
  /** Raised when we are to stop, also in the middle of starting. */
  readonly signal: AbortSignal;
}

/** Each process its own, counted on from METRICS_PORT: API processes first. 0: off. */
function metricsPort(settings: Environment, app: 'api' | 'worker', number: number): number {
  if (settings.METRICS_PORT === 0) return 0;
  return settings.METRICS_PORT + (app === 'api' ? 0 : settings.API_PROCESSES) + number - 1;
}

export class System {
  readonly #options: SystemOptions;
  readonly #settings: Settings;
  readonly #dataFolder: string;
  readonly #servers: PrivateServer[] = [];
  readonly #workers: KeptProcess[] = [];
  readonly #apis: KeptProcess[] = [];
  readonly #failed: Promise<Error>;
  readonly #pids = new Map<string, number>();
  #fail!: (error: Error) => void;
  #runFile: RunFile | undefined;
  #stopped: Promise<void> | undefined;

  /** @throws Error with a sentence when a setting is wrong or does not fit this machine */
  constructor(options: SystemOptions) {
    this.#options = options;
    refuseSourced(options.given);
    this.#settings = readSettings(options.root, options.given);
    const { environment, dataFolder } = this.#settings;
    if (environment.API_PROCESSES > 1 && process.platform !== 'linux') {
      throw new Error(
        'API_PROCESSES above 1 needs Linux: elsewhere processes cannot share a port. Set API_PROCESSES=1.',
      );
    }
    requireChosen(environment);
    this.#dataFolder = ownFolder(dataFolder);
    this.#failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /** Resolves when a part cannot be kept running; never rejects. */
  get failed(): Promise<Error> {
    return this.#failed;
  }

  /** @throws Error with a sentence when it cannot be started, or the signal's reason; then stop() is still to be called */
  async start(): Promise<void> {
    const { say } = this.#options;
    const { environment, apiUrl, adminUrl } = this.#settings;
    await this.#claim();
    await requireListenable(environment.PORT, environment.HOST);
    if (environment.ADMIN_PORT > 0) await requireListenable(environment.ADMIN_PORT, environment.ADMIN_HOST);
    const [redisUrl, databaseUrl] = await this.#startServers();
    await this.#step('ledger', async () => {
      const done = await migrateLedger(databaseUrl, () => {});
      return done.length === 0 ? 'up to date' : `${done.length} migration${done.length === 1 ? '' : 's'} carried out`;
    });
    const adminToken = environment.ADMIN_TOKEN ?? keptSecret(this.#dataFolder, 'admin-token');
    const given = {
      ...this.#settings.variables,
      REDIS_URL: redisUrl,
      DATABASE_URL: databaseUrl,
      ADMIN_TOKEN: adminToken,
    };
    this.#startApps(given);
    await this.#step('worker', () => this.#whenReady(this.#workers));
    await this.#step('api', async () => {
      const what = await this.#whenReady(this.#apis);
      await this.#healthy();
      return `${what}, port ${environment.PORT}`;
    });
    writeAddresses(this.#dataFolder, { apiUrl, adminUrl, redisUrl, databaseUrl, adminToken });
    writeProcessSettings(this.#dataFolder, given);
    const demo = environment.DEMO_SALES === 'on' && environment.NODE_ENV !== 'production';
    let demoIsOpen = true;
    if (demo) {
      await this.#step('demo sales', async () => {
        const sales = await makeDemoSales({ adminUrl, adminToken });
        demoIsOpen = sales.every(({ state, available }) => state === 'active' && available > 0);
        return sales.map(describeDemoSale).join(', ');
      });
    }
    const made = environment.ADMIN_TOKEN === undefined;
    const logs = join(this.#dataFolder, 'logs');
    const buyers = environment.AUTH ?? 'header';
    say(welcome({ apiUrl, adminUrl, buyers, adminToken: made ? adminToken : undefined, demo, demoIsOpen, logs }));
  }

  /** Resolves when nothing of ours runs any more. Safe to call again, and after a start that failed. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  /** Ends everything at once, without waiting. */
  kill(): void {
    for (const kept of [...this.#apis, ...this.#workers]) kept.kill();
    // Also a server that was only about to become ready.
    for (const [name, pid] of this.#pids) {
      if (name === 'postgres') signalProcess(pid, 'SIGQUIT');
      if (name === 'redis') signalProcess(pid, 'SIGKILL');
    }
  }

  async #claim(): Promise<void> {
    this.#runFile = await claimRunFile(this.#dataFolder, join(this.#options.root, 'scripts', 'start.ts'));
    const left = possibleLeftovers(this.#dataFolder, this.#runFile.left);
    const timeoutMs = this.#settings.environment.SHUTDOWN_TIMEOUT_MS;
    await endLeftovers(left, this.#dataFolder, timeoutMs, (line) => this.#options.say(stepLine('left', line)));
  }

  /** Both side by side. @returns the addresses of Redis and PostgreSQL */
  async #startServers(): Promise<[string, string]> {
    const { REDIS_URL, REDIS_MEMORY_MB, DATABASE_URL } = this.#settings.environment;
    const results = await Promise.allSettled([
      REDIS_URL === undefined
        ? this.#privateServer('redis', (options) => startPrivateRedis({ ...options, memoryMb: REDIS_MEMORY_MB }))
        : this.#given('redis', REDIS_URL, async () => {
            const { version, masters } = await checkRedis(REDIS_URL);
            return `redis ${version}${masters > 1 ? ` (${masters} masters)` : ''}`;
          }),
      DATABASE_URL === undefined
        ? this.#privateServer('postgres', startPrivatePostgres)
        : this.#given('postgres', DATABASE_URL, async () => `postgres ${await checkPostgres(DATABASE_URL)}`),
    ]);
    this.#options.signal.throwIfAborted();
    const [redis, postgres] = results;
    if (redis.status === 'rejected') throw redis.reason;
    if (postgres.status === 'rejected') throw postgres.reason;
    return [redis.value, postgres.value];
  }

  async #privateServer(name: string, start: typeof startPrivatePostgres): Promise<string> {
    let url = '';
    // Not raced with the signal: what it started must be known, to be stopped. It heeds the signal itself.
    await this.#step(name, async () => {
      const server = await start({
        folder: this.#dataFolder,
        say: (line) => this.#options.say(stepLine(name, line)),
        onStarted: (pid) => this.#remember(name, pid),
        signal: this.#options.signal,
      });
      this.#servers.push(server);
      void server.gaveUp.then(this.#fail);
      url = server.url;
      return `private (${server.what.replace(`${name} `, '')}), port ${server.port}`;
    });
    return url;
  }

  async #given(name: string, url: string, check: () => Promise<string>): Promise<string> {
    await this.#step(name, async () => `${await check()} at ${hostsOf(url)}`);
    return url;
  }

  /** @param given what each process is given: settings, and whatever else is in the environment */
  #startApps(given: Record<string, string>): void {
    const { environment } = this.#settings;
    const { root, say, watch = false } = this.#options;
    const keep = (app: 'api' | 'worker', number: number) => {
      const name = `${app}-${number}`;
      const logFile = join(this.#dataFolder, 'logs', `${name}.log`);
      const kept = keepProcess({
        name,
        command: process.execPath,
        // The folder is not read by the app: it says in every list of processes whose app this is.
        args: [
          ...SERVICE_NODE_ARGS,
          ...(watch ? ['--watch', '--watch-preserve-output'] : []),
          join(root, 'apps', app, 'src', 'main.ts'),
          '--data-dir',
          this.#dataFolder,
        ],
        cwd: root,
        env: { ...given, METRICS_PORT: String(metricsPort(environment, app, number)), LOG_FILE: logFile },
        ipc: true,
        logFile,
        ownsLog: true,
        say: (line) => say(stepLine(app, line)),
        onStarted: (pid) => this.#remember(name, pid),
      });
      void kept.gaveUp.then(this.#fail);
      return kept;
    };
    for (let n = 1; n <= environment.WORKER_PROCESSES; n++) this.#workers.push(keep('worker', n));
    for (let n = 1; n <= environment.API_PROCESSES; n++) this.#apis.push(keep('api', n));
  }

  async #whenReady(processes: readonly KeptProcess[]): Promise<string> {
    const { promise: tooLate, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const logs = processes.map(({ logFile }) => logFile).join(', ');
      reject(new Error(`Not ready after ${HEALTHY_WITHIN_MS / 1000} s. See ${logs}`));
    }, HEALTHY_WITHIN_MS);
    try {
      await Promise.race([Promise.all(processes.map(({ ready }) => ready)), tooLate, this.#failure()]);
    } finally {
      clearTimeout(timer);
    }
    return `${processes.length} process${processes.length === 1 ? '' : 'es'}`;
  }

  async #healthy(): Promise<void> {
    const url = `${this.#settings.apiUrl}/health`;
    const deadline = Date.now() + HEALTHY_WITHIN_MS;
    for (let last = 'no answer'; ; await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))) {
      this.#options.signal.throwIfAborted();
      const asked = fetch(url, { signal: AbortSignal.timeout(5_000) });
      const response = await Promise.race([asked, this.#failure()]).catch((error: Error) => error);
      if (response instanceof Error) {
        if (response.name === 'PartFailedError') throw response;
        last = response.message;
      } else {
        if (response.status === 200) return;
        last = `${response.status} ${await response.text()}`;
      }
      if (Date.now() > deadline) throw new Error(`The API is not healthy at ${url}: ${last}`);
    }
  }

  /** Rejects when a part cannot be kept running. */
  async #failure(): Promise<never> {
    throw Object.assign(await this.#failed, { name: 'PartFailedError' });
  }

  async #step(name: string, work: () => Promise<string>): Promise<void> {
    const timer = stepTimer();
    const isServer = name === 'redis' || name === 'postgres';
    const what = await (isServer ? work() : unlessAborted(work(), this.#options.signal));
    this.#options.say(stepLine(name, what, timer()));
  }

  #remember(name: string, pid: number): void {
    this.#pids.set(name, pid);
    this.#runFile?.setProcess(name, pid);
  }

  async #stopAll(): Promise<void> {
    const timeoutMs = this.#settings.environment.SHUTDOWN_TIMEOUT_MS + KILL_GRACE_MS;
    for (const group of [this.#apis, this.#workers, this.#servers]) {
      await Promise.all(group.map((part: KeptProcess | PrivateServer) => part.stop(timeoutMs)));
    }
    // Where the folder was not ours to take, its system's addresses are not ours to remove.
    if (this.#runFile) removeAddresses(this.#dataFolder);
    this.#runFile?.release();
  }
}
