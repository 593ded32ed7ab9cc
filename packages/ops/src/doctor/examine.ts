/** Reads settings, machine and servers concurrently, in bounded time, and runs every check. */
import { dirname } from 'node:path';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/config/limits.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { checkMigrated } from '@flash-sale/core/ledger/migrate.ts';
import { CLOCKS_CHECK, DISK_CHECK, type Disk, OPEN_FILES_CHECK, readDisks, readOpenFiles } from './machine.ts';
import { connectionsNeeded, POSTGRES_CHECKS, readPostgres, type SeenPostgres } from './postgres.ts';
import { checkRedisNodes, REDIS_CHECKS, type RedisNode, readRedis } from './redis.ts';
import { type CheckResult, type Finding, ok, runChecks, wrong } from './report.ts';
import { API_CHECKS, SERVICE_CHECKS } from './settings.ts';

/** Every code, with why it matters. `npm run doctor -- --list` prints this table. */
export const CODES: ReadonlyMap<string, string> = new Map([
  ['SETTINGS', 'A process does not start with a setting that it cannot read.'],
  ...[...API_CHECKS, ...SERVICE_CHECKS, OPEN_FILES_CHECK, DISK_CHECK, CLOCKS_CHECK].map(whyOf),
  ...[...REDIS_CHECKS, ...POSTGRES_CHECKS].map(whyOf),
]);

function whyOf([code, why]: readonly [string, string, unknown]): [string, string] {
  return [code, why];
}

/** A server that could not be read: a sentence that says why. */
interface Unread {
  readonly unread: string;
}

export interface Facts {
  readonly settings: Environment;
  readonly redis: readonly RedisNode[] | Unread;
  readonly postgres: SeenPostgres | Unread;
  /** What the ledger's tables lack, as a sentence; null: nothing. */
  readonly outdated: string | null;
  readonly openFiles: number | null;
  readonly disks: readonly Disk[];
}

/**
 * @param options.folders of this system, besides those of LOG_FILE, Redis and PostgreSQL
 * @param options.timeoutMs milliseconds for each server
 */
export async function readFacts(options: {
  settings: Environment;
  folders: readonly string[];
  timeoutMs: number;
  roundTrips: number;
}): Promise<Facts> {
  const { settings, timeoutMs, roundTrips } = options;
  const { REDIS_URL, DATABASE_URL, LOG_FILE, BACKLOG_LIMIT: backlogLimit } = settings;
  const [redis, postgres, openFiles] = await Promise.all([
    within(timeoutMs, 'REDIS_URL', REDIS_URL, (url) => readRedis({ url, timeoutMs, roundTrips, backlogLimit })),
    within(timeoutMs, 'DATABASE_URL', DATABASE_URL, async (url) => {
      const fault = checkMigrated(url).then(
        () => null,
        (error: Error) => error.message,
      );
      return { ...(await readPostgres(url, timeoutMs)), outdated: await fault };
    }),
    readOpenFiles(),
  ]);
  const ofRedis =
    'unread' in redis ? [] : redis.flatMap((node) => (isLoopback(node.host) ? folder(node.config.get('dir')) : []));
  const ofPostgres =
    'unread' in postgres || !isLoopback(postgres.host) ? [] : folder(postgres.settings.get('data_directory'));
  const disks = await readDisks([
    ...options.folders,
    ...folder(LOG_FILE && dirname(LOG_FILE)),
    ...ofRedis,
    ...ofPostgres,
  ]);
  return { settings, redis, postgres, outdated: 'unread' in postgres ? null : postgres.outdated, openFiles, disks };
}

const folder = (path: string | undefined): string[] => (path ? [path] : []);

/** A server that stops answering would cost `timeoutMs` for each query. */
async function within<Result>(
  ms: number,
  name: string,
  url: string | undefined,
  read: (url: string) => Promise<Result>,
): Promise<Result | Unread> {
  if (url === undefined) return { unread: `${name} is not set, and no system runs here.` };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Unread>((resolve) => {
    timer = setTimeout(() => resolve({ unread: `It did not answer everything within ${ms} ms.` }), ms);
  });
  const result = read(url).catch((error: Error) => ({ unread: error.message }));
  return Promise.race([result, late]).finally(() => clearTimeout(timer));
}

/** @param service which one starts; `all`: the whole system, before a sale */
export function checkFacts(facts: Facts, service: 'api' | 'worker' | 'all'): Finding[] {
  const { settings, redis, postgres, outdated, openFiles, disks } = facts;
  const {
    MAX_CONNECTIONS: connections,
    DATABASE_POOL_SIZE: poolOfApi,
    WORKER_CONCURRENCY: jobs,
    API_PROCESSES: api,
    WORKER_PROCESSES: worker,
  } = settings;
  const clocks = new Map([
    ...('unread' in redis ? [] : redis.map(({ host, port, clock }) => [`Redis at ${host}:${port}`, clock] as const)),
    ...('unread' in postgres ? [] : [['PostgreSQL', postgres.clock] as const]),
  ]);
  const needed = connectionsNeeded(
    { api: poolOfApi, worker: jobs + WORKER_LOOP_CONNECTIONS },
    service === 'all' ? { api, worker } : service,
  );
  return [
    ...(service === 'worker' ? [] : runChecks(API_CHECKS, settings)),
    ...runChecks(SERVICE_CHECKS, settings),
    ...(service === 'worker' ? [] : runChecks([OPEN_FILES_CHECK], { openFiles, connections })),
    ...disks.flatMap((disk) => runChecks([DISK_CHECK], disk)),
    ...diskNotRead(facts),
    ...runChecks([CLOCKS_CHECK], clocks),
    ...('unread' in redis ? unread('REDIS_ANSWERS', redis, 'REDIS_URL') : checkRedisNodes(redis)),
    ...('unread' in postgres
      ? unread('POSTGRES_ANSWERS', postgres, 'DATABASE_URL')
      : runChecks(POSTGRES_CHECKS, { ...postgres, needed, outdated })),
  ];
}

export function finding(code: string, verdict: CheckResult): Finding {
  return { code, ...verdict, why: CODES.get(code) ?? '' };
}

/** The disk of PostgreSQL is checked with the others, or the report says that it is not. */
function diskNotRead({ postgres, disks }: Facts): Finding[] {
  if ('unread' in postgres) return [];
  const path = postgres.settings.get('data_directory');
  if (path !== undefined && disks.some(({ folders }) => folders.includes(path))) return [];
  const why = !isLoopback(postgres.host)
    ? `${postgres.host} is another machine`
    : `${path ?? 'data_directory'} cannot be read by our account (GRANT pg_read_all_settings)`;
  return [finding('DISK', ok(`the disk of PostgreSQL was not checked: ${why}`))];
}

/** A sentence that ends with what to do is cut in two. */
function unread(code: string, { unread: sentence }: Unread, setting: string): Finding[] {
  const [, found = sentence, fix = `Start it, or correct ${setting}`] = /^(.*\))\. ([^)]+)$/s.exec(sentence) ?? [];
  return [finding(code, wrong(found, fix))];
}
