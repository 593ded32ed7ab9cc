/** Reads settings, machine and servers concurrently, in bounded time, and runs every check. */
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { otherLedgerFix } from '@flash-sale/core/inventory/ledger-claim.ts';
import { CLOCKS_CHECK, DISK_CHECK, type Disk, OPEN_FILES_CHECK, readDisks, readOpenFiles } from './machine.ts';
import { POSTGRES_CHECKS, readPostgres, type SeenPostgres } from './postgres.ts';
import { mergeMasters, REDIS_CHECKS, type RedisNode, readRedis } from './redis.ts';
import { type Check, type CheckResult, type Finding, ok, type Scope, wrong } from './report.ts';
import { API_CHECKS, SERVICE_CHECKS } from './settings.ts';

/** The one check of both servers. */
const LEDGER_CHECK: Check<{ owner: string | null; ledgerId: string | null | undefined }> = [
  'LEDGER_OF_REDIS',
  "Two ledgers on one Redis would reject each other's orders.",
  ({ owner, ledgerId }, { KEY_PREFIX }) => {
    if (ledgerId === undefined) return ok('not compared: our role may not read the tables of the ledger');
    if (owner === null) return ok('Redis belongs to no ledger yet: the first start decides');
    const fix = otherLedgerFix(createKeys(KEY_PREFIX));
    return owner === ledgerId ? ok(`ledger ${owner}`) : wrong(`Redis belongs to another ledger (${owner})`, fix);
  },
];

/** Every code, with why it matters. `npm run doctor -- --list` prints this table. */
export const CODES: ReadonlyMap<string, string> = new Map([
  ['SETTINGS', 'A process with an invalid setting does not start.'],
  ...[...API_CHECKS, ...SERVICE_CHECKS, OPEN_FILES_CHECK, DISK_CHECK, CLOCKS_CHECK].map(whyOf),
  ...[...REDIS_CHECKS, ...POSTGRES_CHECKS, LEDGER_CHECK].map(whyOf),
]);

function whyOf([code, why]: readonly [string, string, unknown]): [string, string] {
  return [code, why];
}

/** A server that could not be read: a sentence that says why, and what to do about it. */
interface Unread {
  readonly unread: string;
  readonly fix?: string;
}

export interface Facts {
  readonly settings: Environment;
  readonly redis: readonly RedisNode[] | Unread;
  readonly postgres: SeenPostgres | Unread;
  readonly openFiles: number | null;
  readonly disks: readonly Disk[];
}

/**
 * @param options.folders whose disks are checked, besides those of LOG_FILE, Redis and PostgreSQL
 * @param options.timeoutMs milliseconds for each server
 */
export async function readFacts(options: {
  settings: Environment;
  folders: readonly string[];
  timeoutMs: number;
  roundTrips: number;
}): Promise<Facts> {
  const { settings, timeoutMs, roundTrips } = options;
  const { REDIS_URL, DATABASE_URL, KEY_PREFIX, LOG_FILE } = settings;
  const [redis, postgres, openFiles] = await Promise.all([
    within(timeoutMs, 'REDIS_URL', REDIS_URL, (url) => readRedis(url, KEY_PREFIX, timeoutMs, roundTrips)),
    within(timeoutMs, 'DATABASE_URL', DATABASE_URL, (url) => readPostgres(url, timeoutMs)),
    readOpenFiles(),
  ]);
  const ofServers = [
    ...('unread' in redis ? [] : redis.map(({ host, config }) => ({ host, folder: config.get('dir') }))),
    ...('unread' in postgres ? [] : [{ host: postgres.host, folder: postgres.settings.get('data_directory') }]),
  ];
  const folders = [
    ...options.folders,
    LOG_FILE && dirname(LOG_FILE),
    ...ofServers.map(({ host, folder }) => (isLoopback(host) ? folder : undefined)),
  ];
  const disks = await readDisks(folders.filter((folder): folder is string => Boolean(folder)));
  return { settings, redis, postgres, openFiles, disks };
}

/** Bounds all queries to a server together: each one alone may take as long. */
async function within<Result>(
  ms: number,
  name: string,
  url: string | undefined,
  read: (url: string) => Promise<Result>,
): Promise<Result | Unread> {
  if (url === undefined)
    return { unread: `${name} is not set, and no running system was found`, fix: `npm start, or set ${name}` };
  const late = sleep(ms, { unread: `It did not answer all queries within ${ms} ms.` }, { ref: false });
  return Promise.race([read(url).catch((error: Error) => ({ unread: error.message })), late]);
}

export function checkFacts(facts: Facts, scope: Scope): Finding[] {
  const { settings, redis, postgres, openFiles, disks } = facts;
  const run = <Seen>(checks: readonly Check<Seen>[], seen: Seen): Finding[] =>
    checks.map(([code, why, check]) => ({ code, ...check(seen, settings, scope), why }));
  const clocks = new Map([
    ...('unread' in redis ? [] : redis.map(({ host, port, clock }) => [`Redis at ${host}:${port}`, clock] as const)),
    ...('unread' in postgres ? [] : [['PostgreSQL', postgres.clock] as const]),
  ]);
  const isOfApi = scope !== 'worker';
  return [
    ...(isOfApi ? run(API_CHECKS, settings) : []),
    ...run(SERVICE_CHECKS, settings),
    ...(isOfApi ? run([OPEN_FILES_CHECK], openFiles) : []),
    ...disks.flatMap((disk) => run([DISK_CHECK], disk)),
    ...diskNotRead(facts),
    ...run([CLOCKS_CHECK], clocks),
    ...('unread' in redis
      ? unread('REDIS_ANSWERS', redis, 'REDIS_URL')
      : mergeMasters(redis.map((node) => ({ node, findings: run(REDIS_CHECKS, node) })))),
    ...('unread' in postgres ? unread('POSTGRES_ANSWERS', postgres, 'DATABASE_URL') : run(POSTGRES_CHECKS, postgres)),
    ...('unread' in redis || 'unread' in postgres
      ? []
      : run([LEDGER_CHECK], { owner: redis[0]?.owner ?? null, ledgerId: postgres.ledgerId })),
  ];
}

export function finding(code: string, result: CheckResult): Finding {
  return { code, ...result, why: CODES.get(code) ?? '' };
}

/** The disk of PostgreSQL is checked with the others, or the report says that it is not. */
function diskNotRead({ postgres, disks }: Facts): Finding[] {
  if ('unread' in postgres) return [];
  const path = postgres.settings.get('data_directory');
  if (path !== undefined && disks.some(({ folders }) => folders.includes(path))) return [];
  const why = !isLoopback(postgres.host)
    ? `${postgres.host} is another machine`
    : `${path ?? 'data_directory'} cannot be read by this account (GRANT pg_read_all_settings)`;
  return [finding('DISK', ok(`the disk of PostgreSQL was not checked: ${why}`))];
}

/** Splits "<finding>. <what to do>" in two, if the text has that form. */
function unread(code: string, { unread: sentence, fix }: Unread, setting: string): Finding[] {
  const [, found = sentence, end = `Start it, or correct ${setting}`] = /^(.*\))\. ([^)]+)$/s.exec(sentence) ?? [];
  return [finding(code, wrong(found, fix ?? end))];
}
