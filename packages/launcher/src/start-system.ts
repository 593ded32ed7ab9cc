/**
 * `npm start`: runs the whole system on one machine.
 *
 * 1. Validate the settings before anything is started.
 * 2. Claim the data folder, and stop processes that a killed start left.
 * 3. Connect to the given Redis and PostgreSQL, or start private ones. Migrate the ledger.
 *    Write the demo sales into it.
 * 4. Start API processes and workers; keep all running. The API reports healthy only once there is
 *    a worker, which has opened the demo sales by then, so a client that waits for it finds them.
 * 5. Print the addresses.
 *
 * It stops in reverse order: API, workers, servers.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { hostsOf } from '@flash-sale/core/config/redis-address.ts';
import { API_SECRETS } from '@flash-sale/core/config/settings.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { claimDataFolder, type DataFolderClaim, keptSecret } from './data-folder.ts';
import { createDemoSales, describeDemoSale, findDemoSales, isOpen } from './demo-sales.ts';
import { KeptProcess } from './keep-process.ts';
import { startPrivatePostgres } from './private-postgres.ts';
import { startPrivateRedis } from './private-redis.ts';
import {
  ownFolder,
  type PrivateServer,
  type PrivateServerOptions,
  READY_WITHIN_MS,
  rejectWhenAborted,
  requireListenable,
  untilAnswers,
} from './private-server.ts';
import { endLeftovers, STOP_ORDER } from './process-table.ts';
import {
  readSettings,
  refuseSourced,
  removeSystemFile,
  requireChosen,
  type Settings,
  writeSystemFile,
} from './running-system.ts';
import { stepLine, type WelcomeFacts, welcome } from './start-lines.ts';

/** Milliseconds on top of a process's own bound, so that it can end by itself. */
const KILL_GRACE_MS = 500;

export interface SystemOptions {
  /** The project's folder. */
  readonly root: string;
  /** The environment. */
  readonly given: Record<string, string | undefined>;
  readonly say: (line: string) => void;
  /** true: API and workers restart when their source files change. */
  readonly watch?: boolean;
  /** Aborted to stop the system, also during the start. */
  readonly signal: AbortSignal;
}

export class System {
  readonly #options: SystemOptions;
  readonly #settings: Settings;
  readonly #dataFolder: string;
  /** In the order of their first start. */
  readonly #processes = new Map<string, KeptProcess>();
  #claim: DataFolderClaim | undefined;
  #stopped: Promise<void> | undefined;

  /** @throws Error if a setting is invalid or not supported on this machine */
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
  }

  /** @throws Error if the start fails, or the signal's reason; call stop() also then */
  async start(): Promise<void> {
    const { say, signal } = this.#options;
    const { PORT, HOST, ADMIN_PORT, ADMIN_HOST, SHUTDOWN_TIMEOUT_MS } = this.#settings.environment;
    this.#claim = claimDataFolder(this.#dataFolder);
    const sayLeft = (line: string) => say(stepLine('leftover', line));
    await endLeftovers(this.#claim.left, this.#dataFolder, SHUTDOWN_TIMEOUT_MS, sayLeft);
    await requireListenable('PORT', PORT, HOST);
    if (ADMIN_PORT > 0) await requireListenable('ADMIN_PORT', ADMIN_PORT, ADMIN_HOST);
    // Not raced against the signal: stop() must know the servers that it starts.
    const servers = await this.#startServers();
    await Promise.race([this.#startOnServers(servers), rejectWhenAborted(signal)]);
  }

  /** Resolves when all processes have ended. Idempotent, also after a failed start. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  /** Kills all processes, without waiting. */
  kill(): void {
    for (const kept of this.#processes.values()) kept.kill();
  }

  async #startOnServers(servers: { REDIS_URL: string; DATABASE_URL: string }): Promise<void> {
    const { say, signal } = this.#options;
    const { environment, variables, apiUrl, adminUrl } = this.#settings;
    await this.#step('ledger', async () => {
      const done = await migrateLedger(servers.DATABASE_URL, () => {});
      return done.length === 0 ? 'up to date' : `migrations applied: ${done.length}`;
    });
    const created = environment.DEMO_SALES === 'on' ? await createDemoSales(servers.DATABASE_URL) : [];
    const adminToken = environment.ADMIN_TOKEN ?? keptSecret(this.#dataFolder, 'admin-token');
    const given = { ...variables, ...servers, ADMIN_TOKEN: adminToken };
    signal.throwIfAborted();
    const apis = this.#startApps('api', environment.API_PROCESSES, given);
    const withoutSecrets = Object.fromEntries(API_SECRETS.map((name) => [name, '']));
    const workers = this.#startApps('worker', environment.WORKER_PROCESSES, { ...given, ...withoutSecrets });
    const workersReady = whenReady(workers);
    // Awaited below, unless the API fails first.
    workersReady.catch(() => {});
    await this.#step('api', async () => `${await whenReady(apis)}, port ${environment.PORT}`);
    await this.#step('worker', async () => {
      const what = await workersReady;
      await untilAnswers(() => checkHealth(`${apiUrl}/health`), signal);
      return what;
    });
    writeSystemFile(this.#dataFolder, given);
    let demo: WelcomeFacts['demo'] = 'none';
    if (environment.DEMO_SALES === 'on') {
      await this.#step('demo sales', async () => {
        const sales = await untilAnswers(() => findDemoSales({ adminUrl, adminToken }, created), signal);
        demo = sales.every(isOpen) ? 'open' : 'closed';
        return sales.map(describeDemoSale).join(', ');
      });
    }
    const buyers = environment.AUTH ?? 'header';
    const shownToken = environment.ADMIN_TOKEN === undefined ? adminToken : undefined;
    say(welcome({ apiUrl, adminUrl, buyers, adminToken: shownToken, demo, logs: join(this.#dataFolder, 'logs') }));
  }

  /** Starts or checks both in parallel. */
  async #startServers(): Promise<{ REDIS_URL: string; DATABASE_URL: string }> {
    const { REDIS_URL, DATABASE_URL } = this.#settings.environment;
    const checkGiven = async (url: string): Promise<string> => {
      const { version, masters } = await checkRedis(url);
      return masters > 1 ? `${version} (${masters} masters)` : version;
    };
    const starting = [
      this.#startServer('redis', REDIS_URL, checkGiven, startPrivateRedis),
      this.#startServer('postgres', DATABASE_URL, checkPostgres, startPrivatePostgres),
    ] as const;
    // Both, so that stop() knows every server that was started.
    await Promise.allSettled(starting);
    this.#options.signal.throwIfAborted();
    const [redisUrl, databaseUrl] = await Promise.all(starting);
    return { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl };
  }

  /** Checks the given server, or starts a private one. @returns its address */
  async #startServer(
    name: string,
    given: string | undefined,
    check: (url: string) => Promise<string>,
    start: (options: PrivateServerOptions) => Promise<PrivateServer>,
  ): Promise<string> {
    const { signal } = this.#options;
    const say = (line: string) => this.#options.say(stepLine(name, line));
    let url = given ?? '';
    await this.#step(name, async () => {
      if (given !== undefined) return `${name} ${await check(given)} at ${hostsOf(given)}`;
      const server = await start({ folder: this.#dataFolder, say, onStarted: this.#onStarted, signal });
      url = server.url;
      return `private (${server.version}), port ${server.port}`;
    });
    return url;
  }

  /** @param given the environment of each process */
  #startApps(app: 'api' | 'worker', count: number, given: Record<string, string>): KeptProcess[] {
    const { environment } = this.#settings;
    const { root, say, watch = false } = this.#options;
    const watching = watch ? ['--watch', '--watch-preserve-output'] : [];
    const main = join(root, 'apps', app, 'src', 'main.ts');
    return Array.from({ length: count }, (_, index) => {
      const name = `${app}-${index + 1}`;
      const logFile = join(this.#dataFolder, 'logs', `${name}.log`);
      return new KeptProcess({
        name,
        kind: 'app',
        command: process.execPath,
        // The app ignores --data-dir; a later start identifies the process by it.
        args: [...SERVICE_NODE_ARGS, ...watching, main, '--data-dir', this.#dataFolder],
        cwd: root,
        env: {
          ...(watch && { WARM_UP: 'off' }),
          ...given,
          METRICS_PORT: String(metricsPort(environment, app, index)),
          LOG_FILE: logFile,
        },
        logFile,
        say: (line) => say(stepLine(app, line)),
        stopTimeoutMs: environment.SHUTDOWN_DRAIN_MS + environment.SHUTDOWN_TIMEOUT_MS + KILL_GRACE_MS,
        onStarted: this.#onStarted,
      });
    });
  }

  readonly #onStarted = (kept: KeptProcess, pid: number): void => {
    this.#processes.set(kept.name, kept);
    this.#claim?.setProcess(kept.name, pid);
  };

  async #step(name: string, work: () => Promise<string>): Promise<void> {
    const startedAt = performance.now();
    const what = await work();
    this.#options.signal.throwIfAborted();
    this.#options.say(stepLine(name, what, performance.now() - startedAt));
  }

  async #stopAll(): Promise<void> {
    const processes = [...this.#processes.values()];
    for (const group of STOP_ORDER)
      await Promise.all(processes.filter(({ name }) => group.test(name)).map((kept) => kept.stop()));
    if (this.#claim === undefined) return;
    // Without the claim, the file belongs to another system.
    removeSystemFile(this.#dataFolder);
    this.#claim.release();
  }
}

/** Counted up from METRICS_PORT, API processes first. 0: off. */
function metricsPort({ METRICS_PORT, API_PROCESSES }: Environment, app: 'api' | 'worker', index: number): number {
  return METRICS_PORT === 0 ? 0 : METRICS_PORT + (app === 'api' ? 0 : API_PROCESSES) + index;
}

async function whenReady(processes: readonly KeptProcess[]): Promise<string> {
  const tooLate = sleep(READY_WITHIN_MS, undefined, { ref: false }).then(() => {
    const logs = processes.map(({ logFile }) => logFile).join(', ');
    throw new Error(`Not ready after ${READY_WITHIN_MS / 1000} s. See ${logs}`);
  });
  await Promise.race([Promise.all(processes.map(({ ready }) => ready)), tooLate]);
  return processes.length === 1 ? '1 process' : `${processes.length} processes`;
}

/** @throws Error with the last reply */
async function checkHealth(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  if (response.status === 200) return;
  throw new Error(`The API is not healthy at ${url}: ${response.status} ${await response.text()}`);
}
