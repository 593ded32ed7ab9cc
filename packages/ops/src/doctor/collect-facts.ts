/** Everything that the judges are told: the settings, both servers and this machine, looked at side by side, within a bounded time. */
import { dirname } from 'node:path';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { checkMigrated } from '@flash-sale/core/ledger/migrate.ts';
import { PAST_MS } from './bounds.ts';
import { type Disk, readDisks, readOpenFiles } from './read-machine.ts';
import { readPostgres, type SeenPostgres } from './read-postgres.ts';
import { readRedis, type SeenRedis } from './read-redis.ts';

/** A server that could not be looked at: a sentence that says why. */
export interface Unseen {
  readonly unseen: string;
}

export interface Facts {
  readonly settings: Environment;
  readonly redis: SeenRedis | Unseen;
  readonly postgres: SeenPostgres | Unseen;
  /** What the ledger's tables lack, as a sentence; null: nothing; undefined: it was not asked. */
  readonly outdated: string | null | undefined;
  readonly nodeVersion: string;
  readonly openFiles: number | null;
  readonly disks: readonly Disk[];
}

/**
 * @param options.folders where this system keeps something on this machine, besides LOG_FILE and what Redis and PostgreSQL tell
 * @param options.lookMs milliseconds that each server has
 * @param options.migrations whether to look at the ledger's tables, too
 * @throws nothing: what cannot be seen is a fact
 */
export async function collectFacts(options: {
  settings: Environment;
  folders: readonly string[];
  lookMs: number;
  roundTrips: number;
  migrations: boolean;
}): Promise<Facts> {
  const { settings, lookMs: timeoutMs, roundTrips } = options;
  const { REDIS_URL, DATABASE_URL, KEY_PREFIX, LOG_FILE } = settings;
  const { queuePrefix } = createKeys(KEY_PREFIX);
  const [redis, ledger, openFiles] = await Promise.all([
    seen('REDIS_URL', REDIS_URL, timeoutMs, (url) =>
      readRedis({ url, queuePrefix, timeoutMs, roundTrips, pastMs: PAST_MS }),
    ),
    seen('DATABASE_URL', DATABASE_URL, timeoutMs, async (url) => ({
      server: await readPostgres(url, timeoutMs),
      outdated: options.migrations ? await readOutdated(url) : undefined,
    })),
    readOpenFiles(),
  ]);
  const ofRedis =
    'unseen' in redis ? [] : redis.nodes.flatMap(({ host, folder }) => (folder && isLoopback(host) ? [folder] : []));
  const ofLedger = 'unseen' in ledger || !isLoopback(ledger.server.host) ? null : ledger.server.dataFolder;
  const folders = [
    ...options.folders,
    ...(LOG_FILE === '' ? [] : [dirname(LOG_FILE)]),
    ...ofRedis,
    ...(ofLedger === null ? [] : [ofLedger]),
  ];
  return {
    settings,
    redis,
    ...('unseen' in ledger
      ? { postgres: ledger, outdated: undefined }
      : { postgres: ledger.server, outdated: ledger.outdated }),
    nodeVersion: process.versions.node,
    openFiles,
    disks: await readDisks(folders),
  };
}

async function readOutdated(url: string): Promise<string | null> {
  return checkMigrated(url).then(
    () => null,
    (error: Error) => error.message,
  );
}

/** A server that is silent in the middle would else be waited for again with every question. */
async function seen<Seen>(
  name: string,
  url: string | undefined,
  withinMs: number,
  look: (url: string) => Promise<Seen>,
): Promise<Seen | Unseen> {
  if (url === undefined) return { unseen: `${name} is not set, and no system runs here.` };
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<Unseen>((resolve) => {
    timer = setTimeout(() => resolve({ unseen: `It did not answer everything within ${withinMs} ms.` }), withinMs);
  });
  const looked = look(url).catch((error: Error) => ({ unseen: error.message }));
  return Promise.race([looked, tooLate]).finally(() => clearTimeout(timer));
}
