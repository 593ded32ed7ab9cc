/**
 * The life of a service process: read settings, check the servers, start, serve, stop.
 * It stops on SIGTERM, on SIGINT, or when the process that started it is gone, within
 * SHUTDOWN_TIMEOUT_MS. A wrong setting or an unfit server is one sentence on stderr and exit code
 * 78, which means: do not restart it unchanged.
 */
import type { Logger } from 'pino';
import { type Environment, EnvironmentError, readEnvironment, requireSetting } from './config/environment.ts';
import { STARTUP_WAIT_MS } from './config/limits.ts';
import { withEnvFile } from './config/setting-files.ts';
import { checkPostgres, withPostgres } from './ledger/check-postgres.ts';
import { identifyLedger } from './ledger/ledger-id.ts';
import { checkMigrated } from './ledger/migrate.ts';
import { unavailableDependency } from './runtime/errors.ts';
import { createLogger, linesLost } from './runtime/logging.ts';
import { createMetrics, type Metrics } from './runtime/metrics.ts';
import { checkRedis, isLackOfRights, lackOfRights } from './runtime/redis/check-redis.ts';
import { settleHeap } from './runtime/settle-heap.ts';
import type { Tracing } from './runtime/tracing/tracing.ts';
import { listenFault, UnfitServerError } from './runtime/unfit-server.ts';

type Settings = Environment & { REDIS_URL: string; DATABASE_URL: string };

export type ServiceSettings = Settings & {
  /** Identity of the ledger at DATABASE_URL. */
  ledgerId: string;
};

/** Milliseconds for a connection, and then for an answer, when the ledger's id is read. */
const ANSWER_MS = 3_000;

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIGURATION = 78;
/** Milliseconds of SHUTDOWN_TIMEOUT_MS that a stopping process waits for the trace collector. */
const TRACING_FLUSH_MS = 2_000;
/** Milliseconds at the end of SHUTDOWN_TIMEOUT_MS in which nothing optional is waited for. */
const LAST_MS = 100;

const envFile = new URL('../../../.env', import.meta.url);

/** @param start begins the work, and returns how to end it */
export async function runService(
  name: 'api' | 'worker',
  variables: Record<string, string | undefined>,
  start: (
    settings: ServiceSettings,
    log: Logger,
    metrics: Metrics,
    tracing: Tracing | null,
  ) => Promise<{ stop(): Promise<void> }>,
): Promise<void> {
  let settings: Settings | undefined;
  try {
    settings = readSettings(variables);
    const log = createLogger(name, settings.LOG_LEVEL, settings.LOG_FILE);
    await checkServers(settings, log);
    const ledgerId = await withPostgres(settings.DATABASE_URL, ANSWER_MS, identifyLedger);
    const metrics = createMetrics();
    metrics.watchLog(() => linesLost(log));
    let ready = false;
    if (settings.METRICS_PORT > 0) {
      await metrics.listen({ host: settings.METRICS_HOST, port: settings.METRICS_PORT, isReady: () => ready });
    }
    const tracing = await loadTracing(name, settings, log);
    await settleHeap();
    const service = await start({ ...settings, ledgerId }, log, metrics, tracing);
    stopOnSignal(settings.SHUTDOWN_DRAIN_MS + settings.SHUTDOWN_TIMEOUT_MS, log, async (msLeft) => {
      ready = false;
      await service.stop();
      await tracing?.close(Math.min(TRACING_FLUSH_MS, msLeft()));
    });
    ready = true;
    log.info('ready');
    process.send?.({ ready: true });
  } catch (failure) {
    const error = isLackOfRights(failure) ? lackOfRights(failure) : failure;
    process.stderr.write(`${name}: ${(settings && portFault(error, settings)) ?? explain(error)}\n`);
    process.exit(isConfiguration(error) || isOfPort(error) ? EXIT_CONFIGURATION : 1);
  }
}

/** From the variables, over those of the file .env. @throws EnvironmentError */
function readSettings(variables: Record<string, string | undefined>): Settings {
  const environment = readEnvironment(withEnvFile(envFile, variables));
  return {
    ...environment,
    REDIS_URL: requireSetting(environment, 'REDIS_URL'),
    DATABASE_URL: requireSetting(environment, 'DATABASE_URL'),
  };
}

/** @throws UnfitServerError */
async function checkServers(settings: Settings, log: Logger): Promise<void> {
  const [redis] = await Promise.all([
    checkRedis(settings.REDIS_URL, STARTUP_WAIT_MS),
    checkPostgres(settings.DATABASE_URL, STARTUP_WAIT_MS),
  ]);
  await checkMigrated(settings.DATABASE_URL);
  // In production the doctor says so, and more.
  if (!redis.appendOnly && settings.NODE_ENV !== 'production')
    log.warn(
      'redis keeps no append-only file: accepted orders that are not in the ledger yet are lost with it. Set "appendonly yes".',
    );
}

/** Loads the SDK only if tracing is on: it takes a third of a second and 40 MB. */
async function loadTracing(name: string, settings: Settings, log: Logger): Promise<Tracing | null> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER_ARG: sample, OTEL_TRACES_SAMPLER: sampler } = settings;
  if (url === undefined) return null;
  const { openTracing } = await import('./runtime/tracing/open-tracing.ts');
  return openTracing(name, { url, sample, trust: sampler === 'parentbased_traceidratio', log });
}

/** @param stop gets a function that returns the milliseconds left for what is optional */
function stopOnSignal(timeoutMs: number, log: Logger, stop: (msLeft: () => number) => Promise<void>): void {
  let stopping = false;
  const begin = (reason: string): void => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'stopping');
    setTimeout(() => {
      log.error({ timeoutMs }, 'not stopped in time: the reaper finds what is left');
      process.exit(1);
    }, timeoutMs).unref();
    const end = performance.now() + timeoutMs - LAST_MS;
    stop(() => Math.max(0, end - performance.now())).then(
      () => {
        log.info('stopped');
        process.exit(0);
      },
      (error: Error) => {
        log.error({ err: error }, 'stopping failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => begin('SIGTERM'));
  process.on('SIGINT', () => begin('SIGINT'));
  process.on('disconnect', () => begin('the launcher is gone'));
  // The state of the process is unknown after an uncaught exception: exit, and be restarted.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'uncaught exception');
    process.exit(1);
  });
}

function explain(error: unknown): string {
  const { message, stack } = error as Error;
  if (isConfiguration(error)) return message;
  const dependency = unavailableDependency(error);
  if (dependency) return `${dependency} became unavailable during the start (${message}). Start again.`;
  return stack ?? String(error);
}

function isConfiguration(error: unknown): boolean {
  return error instanceof EnvironmentError || error instanceof UnfitServerError;
}

function isOfPort(error: unknown): error is NodeJS.ErrnoException & { code: string; port: number } {
  const { code = '', syscall } = error as NodeJS.ErrnoException;
  return syscall === 'listen' && ['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL'].includes(code);
}

/** @returns which setting names a port that cannot be listened on, and how to choose another */
function portFault(error: unknown, settings: Settings): string | null {
  if (!isOfPort(error)) return null;
  // In the order of listening.
  const names = ['METRICS_PORT', 'ADMIN_PORT', 'PORT'] as const;
  const name = names.find((setting) => settings[setting] === error.port);
  if (name === undefined) return null;
  const host = settings[name.replace('PORT', 'HOST') as 'HOST' | 'ADMIN_HOST' | 'METRICS_HOST'];
  return listenFault(name, { port: error.port, host }, error.code);
}
