/**
 * The life of a service process, the same for each: settings, start, ready, stop.
 *   Stops on SIGTERM, SIGINT, or when the process that started it is gone; finishes what it has within SHUTDOWN_TIMEOUT_MS.
 *   A wrong setting or an unfit server: one sentence on stderr and exit code 78, which says "do not start me again like this".
 *   In production the doctor looks, too, and what it finds is a line each.
 */
import { existsSync, readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import type { Logger } from 'pino';
import { type Environment, EnvironmentError, readEnvironment, requireSetting } from '../config/environment.ts';
import { STARTUP_WAIT_MS } from '../config/limits.ts';
import { withSettingFiles } from '../config/setting-files.ts';
import { checkPostgres, PostgresUnfitError } from '../ledger/check-postgres.ts';
import { checkMigrated } from '../ledger/migrate.ts';
import { unavailableDependency } from './errors.ts';
import { createLogger, linesLost } from './logging.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { checkRedis, RedisUnfitError } from './redis/check-redis.ts';
import { TRACING_FLUSH_MS } from './tracing/bounds.ts';
import type { Tracing } from './tracing/tracing.ts';

export type ServiceSettings = Environment & { REDIS_URL: string; DATABASE_URL: string };

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIGURATION = 78;

const envFile = new URL('../../../../.env', import.meta.url);

/**
 * @param checkSettings run in production before the start; throws EnvironmentError where the process must not run like this
 * @param start begins the work and returns how to end it
 */
export async function runService(
  name: 'api' | 'worker',
  variables: Record<string, string | undefined>,
  checkSettings: (name: 'api' | 'worker', settings: Environment, log: Logger) => Promise<void>,
  start: (
    settings: ServiceSettings,
    log: Logger,
    metrics: Metrics,
    tracing: Tracing | null,
  ) => Promise<{ stop(): Promise<void> }>,
): Promise<void> {
  try {
    const file = existsSync(envFile) ? parseEnv(readFileSync(envFile, 'utf8')) : {};
    const environment = readEnvironment({ ...withSettingFiles(file), ...withSettingFiles(variables) });
    const settings: ServiceSettings = {
      ...environment,
      REDIS_URL: requireSetting(environment, 'REDIS_URL'),
      DATABASE_URL: requireSetting(environment, 'DATABASE_URL'),
    };
    const log = createLogger(name, settings.LOG_LEVEL, settings.LOG_FILE);
    const [redis] = await Promise.all([
      checkRedis(settings.REDIS_URL, STARTUP_WAIT_MS),
      checkPostgres(settings.DATABASE_URL, STARTUP_WAIT_MS),
    ]);
    await checkMigrated(settings.DATABASE_URL);
    if (settings.NODE_ENV === 'production') {
      await checkSettings(name, settings, log);
    } else if (!redis.appendOnly) {
      log.warn(
        'redis keeps no append-only file: accepted orders that are not in the ledger yet are lost with it. Set "appendonly yes".',
      );
    }
    const metrics = createMetrics();
    metrics.watchLog(() => linesLost(log));
    let ready = false;
    if (settings.METRICS_PORT > 0) {
      await metrics.listen({ host: settings.METRICS_HOST, port: settings.METRICS_PORT, isReady: () => ready });
    }
    const tracing = await loadTracing(name, settings, log);
    const service = await start(settings, log, metrics, tracing);
    const stop = async (bound: () => number): Promise<void> => {
      ready = false;
      await service.stop();
      await tracing?.close(Math.min(TRACING_FLUSH_MS, bound()));
    };
    stopWhenTold(stop, settings.SHUTDOWN_TIMEOUT_MS, log);
    ready = true;
    log.info('ready');
    process.send?.({ ready: true });
  } catch (error) {
    const expected =
      error instanceof EnvironmentError || error instanceof RedisUnfitError || error instanceof PostgresUnfitError;
    const away = unavailableDependency(error);
    const sentence = expected
      ? error.message
      : away
        ? `${away} went away while the process started (${(error as Error).message}). It may be started again.`
        : ((error as Error).stack ?? String(error));
    process.stderr.write(`${name}: ${sentence}\n`);
    process.exit(expected || isPortTaken(error) ? EXIT_CONFIGURATION : 1);
  }
}

/** Its library is loaded here, and only where it is wanted: it takes a third of a second and 40 MB. */
async function loadTracing(name: string, settings: ServiceSettings, log: Logger): Promise<Tracing | null> {
  const { TRACING_URL: url, TRACING_SAMPLE: sample, TRACING_TRUST: trust } = settings;
  if (url === undefined) return null;
  const { openTracing } = await import('./tracing/open-tracing.ts');
  return openTracing(name, { url, sample, trust: trust === 'on', log });
}

function isPortTaken(error: unknown): boolean {
  return ['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL'].includes((error as { code?: string }).code ?? '');
}

/** Milliseconds before the end of the time to stop that nothing may be waited for any more that can be done without. */
const LAST_MS = 100;

/** @param stop is told how many milliseconds it has left for what it can do without */
function stopWhenTold(stop: (bound: () => number) => Promise<void>, timeoutMs: number, log: Logger): void {
  let stopping = false;
  const begin = (reason: string): void => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'stopping');
    setTimeout(() => {
      log.error({ timeoutMs }, 'not done in time: what is left is found again by the reaper');
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
  // A fault that nobody caught leaves the process in a state that nobody knows: it ends, and is started again.
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'a fault that nobody caught');
    process.exit(1);
  });
}
